"""Experiments as files and as JSON: what reads back, what is refused, and in which words."""

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cattrs
import pytest

from adiff_jax import demo
from adiff_jax.data.builders.table_source import Table
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.joined import Joined
from adiff_jax.data.sources import RecipeFile, SynthPairs, open_source
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import (
    ConfigError,
    Data,
    Experiment,
    Split,
    StartFrom,
    load_experiment,
)
from adiff_jax.experiment_json import _tag, from_json, to_json
from adiff_jax.matching import EditedCaption, InBatch, Matching, SwappedOrder
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.byola import ByolA, StridedByolA
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger

REQUIRED: dict[type, dict[str, Any]] = {
    CachedPairs: {"path": "features"},
    Joined: {"tables": (Table("acd"), Table("cld"))},
    RecipeFile: {"path": "set.json"},
    Split: {"name": "held out", "source": SynthPairs()},
}


def made(kind: type) -> Any:
    """An instance with every field that has no default filled in."""
    given = REQUIRED.get(kind, {})
    for f in dataclasses.fields(kind):
        bare = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if bare and f.name not in given:
            given = {**given, f.name: "x"}
    return kind(**given)


def fitted(base: Any, name: str, part: Any) -> Any:
    """`base` with another part; an experiment's data are made for its model."""
    if isinstance(base, Experiment) and name == "model":
        rate = 16_000 if isinstance(part, LanguageModel) else part.encoder.frontend.rate
        encode = EncodeConfig(rate=rate, prompt_tokens=40)
        return dataclasses.replace(base, model=part, data=Data(encode=encode))
    if isinstance(part, Data) and CachedEmbeddings in classes_in(part):
        encode = EncodeConfig(rate=Adiff().encoder.frontend.rate, prompt_tokens=40)
        return Experiment(model=Adiff(), data=dataclasses.replace(part, encode=encode))
    if isinstance(base, Cl4ac) and name == "augment":
        base = dataclasses.replace(base, encoder=StridedByolA())  # Cnn10 masks by itself
    of_pairs = SwappedOrder, EditedCaption
    if isinstance(base, Cl4ac) and isinstance(part, Matching):
        part = part if not isinstance(part.negative, of_pairs) else Matching(InBatch())
    return dataclasses.replace(base, **{name: part})


def variants(kind: Any) -> Iterator[Any]:
    """Instances of a dataclass, a union or a tuple of them that hold every class they can."""
    if dataclasses.is_dataclass(kind):
        base = made(kind)
        yield base
        for name, part in typing.get_type_hints(kind).items():
            if name in {f.name for f in dataclasses.fields(kind)}:
                yield from (fitted(base, name, x) for x in variants(part))
        return
    members = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        yield from ((x,) for x in variants(members[0]) if len(members) == 2 and ... in members)
    elif any(dataclasses.is_dataclass(member) for member in members):
        for member in members:
            yield from variants(member)


def classes_in(value: Any) -> set[type]:
    if isinstance(value, tuple):
        return {kind for x in value for kind in classes_in(x)}
    if not dataclasses.is_dataclass(value):
        return set()
    parts = [getattr(value, f.name) for f in dataclasses.fields(value)]
    return {type(value)} | {kind for part in parts for kind in classes_in(part)}


def test_an_experiment_with_any_variant_of_any_part_reads_back_equal():
    experiments = list(variants(Experiment))
    for experiment in experiments:
        assert from_json(to_json(experiment)) == experiment
    seen = {kind for experiment in experiments for kind in classes_in(experiment)}
    assert {
        Adc,
        Adiff,
        LanguageModel,
        Tagger,
        CachedEmbeddings,
        CachedPairs,
        RecipeFile,
        Table,
        StartFrom,
    } <= seen
    assert len(experiments) > 50


def test_a_union_with_none_names_its_classes_too():
    @dataclasses.dataclass(frozen=True)
    class One:
        size: int = 1

    @dataclasses.dataclass(frozen=True)
    class Other:
        size: int = 1

    converter = cattrs.Converter()
    _tag(One | Other | None, converter)
    for value in (One(), Other(2), None):
        stored = json.loads(json.dumps(converter.unstructure(value, One | Other | None)))
        assert converter.structure(stored, One | Other | None) == value  # type: ignore[arg-type]


def test_json_names_the_class_of_a_variant():
    stored = json.loads(to_json(Experiment(data=Data(train=CachedPairs("there")))))
    assert stored["data"]["train"] == {"path": "there", "type": "CachedPairs"}
    assert stored["model"]["encoder"]["type"] == "StridedByolA"


def test_fields_that_json_lacks_take_their_defaults():
    assert from_json("{}") == Experiment()


@pytest.mark.parametrize("data", [Data(), demo.get_config().data], ids=["default", "demo"])
def test_validation_and_tests_hear_no_recording_of_training(data: Data):
    heard = []
    for config in (data.train, data.validation, *(split.source for split in data.test)):
        pairs = open_source(config)
        found = [truth for i in range(60) for truth in pairs.truth(i).recordings]
        heard.append(set(found))
    for place, recordings in enumerate(heard):
        assert recordings
        assert not recordings & set().union(*heard[:place])


STORED = json.loads(to_json(Experiment(data=Data(test=(Split("one", SynthPairs()),)))))
ABSENT = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.stepps", 5, "experiment.train has no field 'stepps'; did you mean 'steps'?"),
        ("model.sdd.wieght", 1, "experiment.model.sdd has no field 'wieght'; did you mean 'weight"),
        ("data.test.0.source.sizes", 1, "experiment.data.test[0].source has no field 'sizes'"),
        ("wholly_other", 1, "experiment has no field 'wholly_other'"),
        ("train.steps", "many", "experiment.train.steps: "),
        ("model.sdd.stage", "never", "experiment.model.sdd.stage: never not in"),
        ("model.type", "Addc", "experiment.model has no type 'Addc'"),
        ("data.test.0.source.type", "Pears", "experiment.data.test[0].source has no type 'Pears'"),
        ("data.test.0.source.type", ABSENT, 'experiment.data.test[0].source has no "type"'),
        ("data.test.0.name", ABSENT, "experiment.data.test[0].name is missing"),
        ("start", [{"subtrees": [["a"]]}], "experiment.start[0].subtrees[0]: "),
        ("data.loader.threads", 0, "experiment.data.loader: LoaderConfig.threads is 0"),
        ("data.encode.rate", 8000, "data.encode.rate (8000 Hz) differ"),
    ],
)
def test_a_stored_field_that_does_not_fit_is_named(path: str, value: Any, message: str):
    stored = json.loads(json.dumps(STORED))
    at, names = stored, [int(name) if name.isdigit() else name for name in path.split(".")]
    for name in names[:-1]:
        at = at[name]
    at[names[-1]] = value
    if value is ABSENT:
        del at[names[-1]]
    with pytest.raises(ConfigError) as caught:
        from_json(json.dumps(stored))
    assert message in str(caught.value)


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigError, match=r"train has no field 'a'.*; .*evaluation has no field"):
        from_json('{"train": {"a": 1}, "evaluation": {"b": 1}}')


@pytest.mark.parametrize("text", ["3", "[]"])
def test_json_that_is_no_object_is_refused(text: str):
    with pytest.raises(ConfigError, match="a JSON object is expected"):
        from_json(text)


def test_an_encoder_at_another_rate_than_the_audio_is_refused():
    with pytest.raises(ConfigError, match=r"\(16000 Hz\) and data.encode.rate \(32000 Hz\) differ"):
        Experiment(data=Data(encode=EncodeConfig(rate=32_000)))


def test_the_encoder_of_adiff_is_named_where_it_is():
    clips = Tagger(encoder=ByolA())
    with pytest.raises(ConfigError, match=r"^model.clips.encoder.frontend.rate \(16000 Hz\) and "):
        Experiment(model=Adiff(clips=clips), data=Data(encode=EncodeConfig(rate=8000)))
    with pytest.raises(ConfigError, match="^model.encoder.frontend.rate"):
        Experiment(model=clips, data=Data(encode=EncodeConfig(rate=8000)))


def test_a_source_of_no_examples_is_named_by_its_field():
    none = SynthPairs(size=0)
    with pytest.raises(ConfigError, match="data.validation.size is 0: give at least 1"):
        Experiment(data=Data(validation=none))
    with pytest.raises(ConfigError, match="data.test, near.size is 0: give at least 1"):
        Experiment(data=Data(test=(Split("near", none),)))


def test_a_split_that_is_not_there_is_answered_with_those_that_are():
    experiment = Experiment(data=Data(test=(Split("far", SynthPairs(seed=9)),)))
    assert experiment.split("far") == SynthPairs(seed=9)
    assert experiment.split("validation") == experiment.data.validation
    with pytest.raises(ConfigError, match="'near' is not one of validation, far"):
        experiment.split("near")


# --- files ------------------------------------------------------------------------------------

WHOLE = "from adiff_jax.experiment import Experiment\n\ndef get_config():\n    return {}\n"


def write(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(WHOLE.format(body))
    return path


def test_relative_imports_mean_the_files_beside_and_above(tmp_path: Path):
    write(tmp_path / "configs" / "base.py", "Experiment(name='base')")
    path = write(
        tmp_path / "configs" / "ablations" / "cell.py", "replace(beside(), name=base().name)"
    )
    path.write_text(
        "from dataclasses import replace\nfrom ..base import get_config as base\n"
        f"from .beside import get_config as beside\n{path.read_text()}"
    )
    write(tmp_path / "configs" / "ablations" / "beside.py", "Experiment(label_smoothing=0.5)")
    assert load_experiment(path) == Experiment(name="base", label_smoothing=0.5)


def test_files_of_one_name_in_two_folders_are_two_experiments(tmp_path: Path):
    names = ("one", "two")
    paths = [write(tmp_path / n / "configs" / "x.py", f"Experiment(name='{n}')") for n in names]
    assert [load_experiment(str(path)).name for path in paths] == ["one", "two"]


def test_a_folder_with_a_dot_in_its_name_serves(tmp_path: Path):
    write(tmp_path / "v1.2" / "base.py", "Experiment(name='dotted')")
    path = write(tmp_path / "v1.2" / "x.py", "base()")
    path.write_text(f"from .base import get_config as base\n{path.read_text()}")
    assert load_experiment(path).name == "dotted"


FAILS = "from adiff_jax.experiment import *\n\ndef get_config():\n    return {}\n"


@pytest.mark.parametrize(
    ("text", "line", "message", "cause"),
    [
        ("x = 1\ndef get_config(:\n", 2, "SyntaxError: ", SyntaxError),
        ("x = 1\n\nx.y\n", 3, "AttributeError: 'int' object has no", AttributeError),
        (FAILS.format("Data(trian=1)"), 4, "TypeError: .*'trian'", TypeError),
        (FAILS.format("{}['a']"), 4, "KeyError: 'a'", KeyError),
        (FAILS.format("Experiment().split('x').path"), None, "'x' is not one of", None),
    ],
)
def test_what_goes_wrong_in_a_config_is_told_by_file_and_line(
    tmp_path: Path, text: str, line: int | None, message: str, cause: type[Exception] | None
):
    """Also where it goes wrong in a file that the config builds on."""
    (tmp_path / "base.py").write_text(text)
    (tmp_path / "on_it.py").write_text("from .base import get_config\n")
    where = f"{tmp_path}/base.py, line {line}: " if line else ""
    for name in ("base.py", "on_it.py"):
        with pytest.raises(ConfigError, match=f"^{where}.*{message}") as caught:
            load_experiment(tmp_path / name)
        assert cause is None or isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.py", None, "absent.py does not exist"),
        ("notes.txt", "x", "is not Python"),
        ("empty.py", "", "empty.py defines no get_config"),
        ("other.py", "def get_config():\n    return 3\n", "other.py returned int"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path: Path, name: str, text: str, message: str):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(tmp_path / name)
    assert message in str(caught.value)
