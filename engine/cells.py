"""The cells of a study: its axes multiplied out, and what the axes forbid."""

from collections.abc import Iterator
from itertools import product

from engine.errors import StudyError
from engine.models.sizes import describe, short_name
from engine.spec import ADAPTED, FORMS_OF, MIXTURES, STUDENTS, WRITTEN, Cell, Study, protocol, takes_volume


def expand(study: Study) -> list[Cell]:
    """Return the study's cells, each once.

    Volume 0 of a student is direct transfer from its source set, direct transfer from a language to itself is the
    in-language ceiling, and several teachers on one source are one: such cells go by that name. A source set gives no cell
    for a target that is one of it. Translate-test has no cell for a source set of several languages, since it translates into
    one, nor for a perturbed test text. Raises StudyError where an axis changes nothing, a model cannot serve a form, or no cell
    is left.
    """
    students = [method for method in study.methods if takes_volume(method)]
    if not students and len(study.volumes) > 1:
        raise StudyError(
            f"axis volumes={','.join(map(str, study.volumes))} changes nothing: of methods={','.join(study.methods)} none "
            "reads unlabeled text. Set volumes=0, or add teacher-student to the methods."
        )
    if study.shots != (0,) and not {"direct", *ADAPTED} & {*study.methods}:
        raise StudyError(
            f"axis shots={','.join(map(str, study.shots))} changes nothing: of methods={','.join(study.methods)} none goes on "
            "with labeled target sentences. Set shots=0, or add direct to the methods."
        )
    several = [method for method in students if method in MIXTURES]
    if several and max(map(len, study.sources)) == 1:
        raise StudyError(
            f"methods={','.join(several)} with sources={','.join('+'.join(s) for s in study.sources)}: no source set has two "
            "languages, so there is one teacher. Write a set as eng+deu, or use teacher-student."
        )
    if study.methods == ("in-language",) and len(study.sources) > 1:
        raise StudyError("axis sources changes nothing: in-language training has no source. Give one source set, or add a method.")
    if len(students) == len(study.methods) and set(study.volumes) == {0}:
        raise StudyError(f"methods={','.join(students)} with volumes=0: a student needs text of the target. Give a volume above 0.")
    _check_translated_tests(study)
    soft = [method for method in study.methods if method in STUDENTS]
    written = [form for form in study.form if form in WRITTEN]
    if soft and written:
        raise StudyError(
            f"methods={','.join(soft)} with form={','.join(written)}: a student learns a distribution over the tags of each "
            "word, which text does not give. Use form=slots, sentinel or encoder, or other methods."
        )
    points = dict.fromkeys(product(_points(study), study.perturbations))
    cells: list[Cell] = []
    for dataset in study.dataset:
        for model in study.model:
            name = short_name(model)
            for form in study.form or (_natural_form(model, study.task),):
                _check_form(model, form, study.task)
                cells += [
                    Cell(
                        study=study.name, task=study.task, dataset=dataset, model=name, form=form, method=method,
                        sources=sources, target=target, volume=volume, shots=shots, perturbation=perturbation, seed=seed,
                    )
                    for (method, sources, target, volume, shots, seed), perturbation in points
                    if perturbation == "none" or protocol(method)[0] != "translate-test"
                ]  # fmt: skip
    if not cells:
        raise StudyError(
            f"study {study.name!r} has no cells: a target needs a source set without it. sources="
            f"{','.join('+'.join(s) for s in study.sources)}, targets={','.join(study.targets)}."
        )
    return cells


def _points(study: Study) -> Iterator[tuple[str, tuple[str, ...], str, int, int, int]]:
    """Method, sources, target, volume, shots and seed of each cell; some more than once."""
    for seed in study.seeds:
        for target in study.targets:
            for method in study.methods:
                if method == "in-language":
                    yield method, (target,), target, 0, 0, seed
                    continue
                for sources in study.sources:
                    if sources == (target,) and method not in ADAPTED:
                        yield "in-language", sources, target, 0, 0, seed
                    elif target in sources:
                        continue  # its gold tags are read: no transfer
                    elif takes_volume(method):
                        student = "teacher-student" if method in MIXTURES and len(sources) == 1 else method
                        for volume in study.volumes:
                            yield (student if volume else "direct"), sources, target, volume, 0, seed
                    elif protocol(method)[0]:
                        if len(sources) == 1:
                            yield method, sources, target, 0, 0, seed
                    else:
                        for shots in study.shots:
                            yield method, sources, target, 0, shots, seed


def _natural_form(model: str, task: str) -> str:
    """The form of a model where the study names none: its own, if that serves the task."""
    form = describe(model).form
    return form if form in FORMS_OF[task] else FORMS_OF[task][0]


def _check_form(model: str, form: str, task: str) -> None:
    if form != "encoder" and describe(model).family == "encoder":
        way_out = "Use form=encoder" if "encoder" in FORMS_OF[task] else "Use a model of the mT5 family"
        raise StudyError(
            f"form={form} with model={model}: {form} needs an encoder-decoder with sentinels, as mT5. {way_out} "
            f"(forms of task={task}: {', '.join(FORMS_OF[task])})."
        )


def _check_translated_tests(study: Study) -> None:
    translated = [method for method in study.methods if protocol(method)[0] == "translate-test"]
    if translated and min(map(len, study.sources)) > 1:
        raise StudyError(
            f"methods={','.join(translated)} with sources={','.join('+'.join(s) for s in study.sources)}: a test text is "
            "translated into one language. Add a source set of one."
        )
    if len(translated) == len(study.methods) and "none" not in study.perturbations:
        raise StudyError(
            f"methods={','.join(translated)} with perturbations={','.join(study.perturbations)}: perturbed test text is not "
            "translated. Add perturbations=none, or another method."
        )
