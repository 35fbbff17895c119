"""The columns of the results table."""

import pyarrow as pa

# Measures on a cell's languages, means over its sources; null where the study asked for none (engine.measured, docs/methods.md).
MEASURED = (
    "lml_source", "lml_target", "lml_difference", "lmem_source", "lmem_target", "lmem_difference",  # the base filling in masked text
    "word_overlap", "word_jaccard", "subword_overlap", "subword_jaccard", "ttr_distance",  # of unlabeled text
    "entity_overlap",  # of the target's test entities with the source's training text: it reads gold test labels
    "fertility_source", "fertility_target", "fertility_difference",  # subwords a word
    "unknown_source", "unknown_target", "unknown_difference",  # share of words with a piece that the tokenizer lacks
    "alignment_cosine", "alignment_cka", "alignment_retrieval", "alignment_distance", "alignment_procrustes",  # of parallel text
    "identity_weight",  # the source's among all sources of the study, by language identification
    "teacher_entropy", "teacher_agreement",  # of soft labels on the target's text; of students alone
)  # fmt: skip

# The results table, one row per cell x entity type. Identity first, then the counts, then where they came from.
COLUMNS = pa.schema(
    [
        ("study", pa.string()),  # the study's name
        ("task", pa.string()),  # ner, nli, qa
        ("dataset", pa.string()),
        ("model", pa.string()),  # hub id or name of the folder
        ("form", pa.string()),  # slots, sentinel, spans, encoder, text
        ("method", pa.string()),  # direct, teacher-student, multi-teacher..., in-language
        ("sources", pa.list_(pa.string())),  # sorted codes; the target itself for in-language
        ("n_sources", pa.int32()),
        ("target", pa.string()),
        ("volume", pa.int64()),  # unlabeled target sentences the student saw; 0 where there is no student
        ("shots", pa.int32()),  # labeled target sentences
        ("perturbation", pa.string()),  # of the test set; none, or as engine.data.perturb names it
        ("seed", pa.int32()),
        ("entity_type", pa.string()),  # of NLI the label; ALL for the whole
        ("tp", pa.int64()),  # spans right in borders and type; of NLI right answers, so that the F1 of ALL is the accuracy
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("precision", pa.float64()),  # 0 where nothing was predicted, as seqeval counts
        ("recall", pa.float64()),
        ("f1", pa.float64()),  # of QA: SQuAD's, the mean over questions
        ("position_free_f1", pa.float64()),  # of NER: mT5's own span F1 (engine.tasks.spans) of the same answers
        ("exact_match", pa.float64()),  # of QA: share of questions answered word for word; tp, fp, fn are null there
        ("sentences", pa.int64()),  # of the test split: sentences, pairs or questions
        ("entities", pa.int64()),  # gold spans of this type in it
        ("exposure", pa.float64()),  # share of all its gold spans that the perturbation edited; null without one
        ("parse_failures", pa.int64()),  # answers that could not be read whole; always 0 in forms with one slot a word
        ("truncated", pa.float64()),  # share of test inputs that lost text to max_tokens; null in NER, which has windows
        ("collapsed", pa.bool_()),  # F1 over all types below 0.05, where there are entities; of NLI, one label for all
        ("teacher_precision", pa.float64()),  # the teacher, or all together, on the same test split; null where there is none
        ("teacher_recall", pa.float64()),
        ("teacher_f1", pa.float64()),
        ("gain", pa.float64()),  # f1 - teacher_f1
        ("source_f1", pa.float64()),  # the transferring model (the teacher, where there is one) on its sources' test
        *((name, pa.float64()) for name in MEASURED),
        ("train_data", pa.string()),  # hash of the labeled training splits
        ("pool_data", pa.string()),  # hash of the unlabeled pool; null where none was used
        ("test_data", pa.string()),  # hash of the test split
        ("updates", pa.int64()),  # optimizer steps of the model that was scored
        ("tokens", pa.int64()),  # real (not padded) input subwords it was trained on
        ("seconds", pa.float64()),  # wall time of that training
        ("peak_memory", pa.int64()),  # bytes: the process's (CPU) or device's (GPU) highest
        ("status", pa.string()),  # done, failed
        ("error", pa.string()),  # what failed; null when done
        ("recipe_version", pa.int32()),  # of the training step that was scored
        ("fingerprint", pa.string()),  # of everything that decided the row
        ("scored", pa.string()),  # the artifact with the counts of each test sentence
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)
