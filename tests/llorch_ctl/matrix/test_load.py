import json
from pathlib import Path

import pytest

from llorch_ctl.matrix.load import load_matrix, parse_matrix
from pool_core.catalog.catalog import shipped_folder
from pool_core.errors import ConfigError, ExitCode
from tests.llorch_ctl.matrix.builders import TOML, make_matrix


def refuse(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_matrix(text.encode(), "my.toml")
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_the_shipped_matrix_is_eight_cells_of_six_cases() -> None:
    matrix = load_matrix(shipped_folder() / "matrices" / "reference.toml")
    assert len(matrix.models) * len(matrix.backends) == 8
    assert len(matrix.cases) == 6
    assert matrix.backends[0] == "cpu"


def test_contains_takes_one_text_or_several() -> None:
    assert make_matrix().cases[1].contains == ("42",)


def test_messages_make_a_case_a_chat() -> None:
    text = TOML + '\n[[cases]]\nname = "chat"\nmessages = [{ role = "user", content = "Hi" }]\n'
    assert parse_matrix(text.encode(), "my.toml").cases[2].mode == "chat"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('modles = ["x"]', 'my.toml: unknown key "modles"; did you mean "models"?'),
        (
            "[parity]\ntolerence = 1",
            'my.toml: [parity]: unknown key "tolerence"; did you mean "tolerance"?',
        ),
        ("[parity]\ntolerance = 0", 'my.toml: [parity]: "tolerance" must be above 0'),
        ('[speed]\nruns = "3"', "my.toml: [speed]: \"runs\" must be a whole number, not '3'"),
        ('[worker]\nkv_type = "f8"', "my.toml: [worker]: \"kv_type\" must be '', 'f16'"),
        ("parity = 3", 'my.toml: "parity" must be a table, not 3'),
    ],
)
def test_a_wrong_key_is_named_with_file_and_table(change: str, said: str) -> None:
    head, mark, cases = TOML.partition("\n[[cases]]")
    assert refuse(head + "\n" + change + mark + cases).startswith(said)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ('contain = "x"\nprompt = "a"', 'unknown key "contain"; did you mean "contains"?'),
        ('regex = "("\nprompt = "a"', '"regex" not a regular expression'),
        ("max_tokens = 3", "needs either prompt or messages"),
        ('prompt = "a"\nmax_tokens = 0', '"max_tokens" must be at least 1, not 0'),
        ('prompt = "a"\nstop = ["1", "2", "3", "4", "5"]', '"stop" must be at most 4 long'),
    ],
)
def test_a_wrong_case_is_named_by_number_and_name(case: str, said: str) -> None:
    text = f'{TOML}\n[[cases]]\nname = "third"\n{case}\n'
    assert refuse(text).startswith(f'my.toml: [[cases]] 3 "third": {said}')


def test_a_name_may_be_given_once() -> None:
    assert '"one" is named twice' in refuse(TOML.replace('"two"', '"one"'))
    assert '"capital" is named twice' in refuse(TOML.replace('"sum"', '"capital"'))


def test_what_is_missing_is_named() -> None:
    assert refuse(TOML.replace('backends = ["cpu", "rpc"]', "")).startswith(
        'my.toml: missing key "backends"'
    )
    assert "list with something in it" in refuse(TOML.replace('["one", "two"]', "[]"))


def test_a_file_that_is_not_toml_or_not_there(tmp_path: Path) -> None:
    assert refuse("models = [").startswith("my.toml: not TOML")
    with pytest.raises(ConfigError, match="no matrix file"):
        load_matrix(tmp_path / "none.toml")


def test_the_digest_changes_with_what_is_asked_and_not_with_where() -> None:
    digest = make_matrix().digest
    assert make_matrix(text=TOML.replace('["local"]', '["mac"]')).digest == digest
    assert make_matrix(text=TOML.replace('"two"', '"three"')).digest == digest
    assert make_matrix(text=TOML.replace("17", "18")).digest != digest
    assert make_matrix(text=TOML.replace('["cpu", "rpc"]', '["rpc", "cpu"]')).digest != digest
    assert make_matrix("[parity]\ntolerance = 0.5").digest != digest


def test_the_schema_of_the_file_is_the_one_in_the_specs() -> None:
    from llorch_ctl.matrix.spec import Matrix

    schema = Path(__file__).parents[3] / ".specs" / "schemas" / "matrix.schema.json"
    assert json.loads(schema.read_text()) == Matrix.model_json_schema()
