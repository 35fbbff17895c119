"""Several datasets as one: "masakhaner2+wikineural". Each language has all its splits from the first that has it.

So labels and texts of one language never come from two annotation projects. What differs between the projects' label
sets the study settles, by its `types` and `dropped_types`, and each split carries these into the fingerprints; a step on a
member is the same step in a study of that member alone.
"""

from dataclasses import dataclass

from engine.data.corpora import Dataset, open_dataset
from engine.data.folder import LABELED
from engine.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Union:
    """Datasets in the order in which they are asked for a language. `name`: theirs with + between, as a study has it."""

    name: str
    members: tuple[Dataset, ...]

    def serving(self, language: str) -> Dataset:
        """The dataset that a language is from. DataError where none has labeled text of it, naming what each has."""
        if len(self.members) == 1:
            return self.members[0]  # whose own errors say what is missing
        for member in self.members:
            if {*LABELED} & {*member.splits(language)}:
                return member
        has = {member.name: member.languages() for member in self.members}
        known = sorted({code for codes in has.values() for code in codes or ()})
        each = "; ".join(f"{name}: {'any real one' if codes is None else ' '.join(codes) or 'none'}" for name, codes in has.items())
        raise DataError(f"dataset {self.name!r}: none of its members has {language!r}.{did_you_mean(language, known)} Languages of {each}.")


def open_union(name: str, data: str | None, types: tuple[str, ...], dropped_types: tuple[str, ...]) -> Union:
    """Open one dataset, or several with + between; arguments and errors as of `open_dataset`.

    DataError also where a member stands twice, or can never be asked because one before it has every real language.
    """
    names = name.split("+")
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"dataset {name!r}: a union names each of its members once, as in masakhaner2+wikineural.")
    members = tuple(open_dataset(one, data, types, dropped_types) for one in names)
    real = [member for member in members if member.name != "sandbox"]
    for member in real[:-1]:
        if member.languages() is None:
            raise DataError(
                f"dataset {name!r}: {member.name} is taken to have every real language, so {real[-1].name} would never be asked. "
                f"Put {member.name} last."
            )
    return Union(name, members)
