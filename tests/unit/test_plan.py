"""A grid file, and each file that it names, is read and checked; a fault is one line."""

import re
from pathlib import Path

import pytest
from kit.grids import GRID

from ttfs.config import load_grid, torchvision_names
from ttfs.config.plan import _points
from ttfs.errors import UserError


def refusal(plan, changes: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        plan(changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[digits]", "[digts]",
            "configs/mine.yaml: key 'datasets': no configs/datasets/digts.yaml; "
            "did you mean 'digits'?",
        ),
        (
            "[fc2]", "[fc2, leenet5]",
            "key 'models': no configs/models/leenet5.yaml; did you mean 'lenet5'?",
        ),
        ("[ann, ", "[anne, ", "key 'methods': no configs/methods/anne.yaml; did you mean 'ann'?"),
        (
            "[ann, ", "[",
            "key 'methods': 'b1-converted' starts from 'ann', which the grid does not list; "
            "add 'ann'",
        ),
        (
            "[b1-converted, b1-finetuned]", "[ann]",
            "key 'deployed': 'ann' is no method here whose networks go onto hardware",
        ),
        (
            "[b1-converted, b1-finetuned]", "[alpha1-converted]",
            "'alpha1-converted' is no method here whose networks",
        ),
        (
            "over: {time_bits", "over: {time_bit",
            "key 'hardware': ideal: no key 'time_bit' to vary; did you mean 'time_bits'",
        ),
        (
            "seeds: [0, 1]", "seeds: [0, 1]\nreference: an",
            "key 'reference': 'an' is no method here; did you mean 'ann'?",
        ),
        (
            "over: {time_bits", "over: {latency_cut: 2, window_quantile: 0.9, time_bits",
            "has latency_cut and window_quantile; the cut chooses the quantile, so leave one",
        ),
        ("[trajectory-digits]", "[hours]", "key 'studies': no configs/studies/hours.yaml"),
        ("seeds: [0, 1]", "seeds: [0, -1]", "key 'seeds.1': -1 is less than the minimum of 0"),
        ("seeds: [0, 1]", "seeds: [0, yes]", "key 'seeds.1': 'yes' is not of type 'integer'"),
        ("[fc2]", "[]", "key 'models': [] should be non-empty"),
        (
            "time_bits: [", "jitter: [], time_bits: [",
            "over.jitter': [] should be non-empty",
        ),
    ],
)  # fmt: skip
def test_a_grid_at_fault_is_one_line(plan, old: str, new: str, said: str):
    assert said in refusal(plan, {old: new})


def test_two_points_of_one_id_are_refused():
    """Keys that no schema names may share their last part."""
    over = {
        f"source.torchvision.{half}": [
            {"split": split, "train": half == "train"} for split in splits
        ]
        for half, splits in (("train", ("balanced", "letters")), ("test", ("balanced", "letters")))
    }
    with pytest.raises(UserError) as caught:
        _points("dataset", [{"dataset": "emnist", "over": over}], "a test")
    assert str(caught.value).startswith(
        "a test: two different points have the id 'emnist+split=letters'; put the values of one"
    )


def test_hardware_without_a_network_for_it(configs: Path):
    (configs / "mine.yaml").write_text(
        "datasets: [digits]\nmodels: [fc2]\nmethods: [ann]\nseeds: [0]\nhardware: [ideal]\n"
    )
    with pytest.raises(
        UserError, match="key 'hardware': no method here has networks that go onto hardware"
    ):
        load_grid("configs/mine.yaml")


@pytest.mark.parametrize("name", ["cells", "mlflow-artifacts", "published", "site"])
def test_names_of_folders_that_are_no_grid(configs: Path, name: str):
    (configs / f"{name}.yaml").write_text(GRID)
    with pytest.raises(
        UserError, match=f"results/{name}/ is not for a grid; give the grid another name"
    ):
        load_grid(f"configs/{name}.yaml")


TRAIN = "train: {optimizer: adam, learning_rate: 1.0e-3}"


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"tuned": "kind: b1\nsource: b1-convertd"},
            "configs/mine.yaml: key 'methods': 'tuned' starts from 'b1-convertd', which the "
            "grid does not list; add 'b1-convertd'",
        ),
        ({"tuned": "kind: relu\nsource: ann"}, "configs/methods/tuned.yaml: unknown key 'source'"),
        (
            {"tuned": "kind: alpha1\nsource: b1-converted"},
            "configs/methods/tuned.yaml: key 'source': 'b1-converted' makes networks of kind "
            "b1, and this method starts from relu or alpha1; did you mean 'alpha1-converted'?",
        ),
        (
            {"tuned": "kind: b1\nsource: tuned"},
            "configs/methods/tuned.yaml: key 'source': tuned <- tuned is a circle; start one "
            "from scratch",
        ),
        (
            {"hen": "kind: b1\nsource: egg", "egg": "kind: b1\nsource: hen"},
            "configs/methods/hen.yaml: key 'source': hen <- egg <- hen is a circle; start one "
            "from scratch",
        ),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_one_is_refused(
    configs: Path, plan, methods: dict[str, str], said: str
):
    for name, text in methods.items():
        (configs / "methods" / f"{name}.yaml").write_text(f"title: T\n{text}\n{TRAIN}\n")
    found = refusal(plan, {"alpha1-converted]": f"alpha1-converted, {', '.join(methods)}]"})
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: b1\n", "give source, train, or both"),
        (
            "kind: b1\nsource: ann\ncheck: {agreement: 101}\n",
            "key 'check.agreement': 101 is greater than the maximum",
        ),
        (
            f"kind: alpha1\nsource: ann\ninitialization: drawn\n{TRAIN}\n",
            "key 'initialization' is 'drawn', but source 'ann'",
        ),
        (
            "kind: relu\ntrain: {optimizer: adam, learning_rate: 0.1, window_growth: 3}\n",
            "unknown key 'train.window_growth'",
        ),
        ("kind: rate\nsource: ann\nsteps: 0\n", "key 'steps': 0 is less than the minimum of 1"),
        (
            "kind: rate\nsource: ann\nthreshold: best\n",
            "key 'threshold' is 'best'; choose from: max, quantile, mmse, tuned",
        ),
        (f"kind: lif\nsteps: 0\n{TRAIN}\n", "key 'steps': 0 is less than the minimum of 1"),
        (f"kind: lif\nalpha: 0\n{TRAIN}\n", "key 'alpha': 0 is less than or equal to"),
        (f"kind: lif\nalpha: -1\n{TRAIN}\n", "key 'alpha': -1 is less than or equal to"),
    ],
)
def test_options_that_do_not_go_together_are_refused(configs: Path, plan, text: str, said: str):
    (configs / "methods" / "odd.yaml").write_text(f"title: T\n{text}")
    assert said in refusal(plan, {"alpha1-converted]": "alpha1-converted, odd]"})


def test_a_value_of_an_axis_that_goes_with_no_other_is_told_where_it_stands(configs: Path, plan):
    text = "title: T\nkind: rate\nsource: ann\n"
    (configs / "methods" / "odd.yaml").write_text(text)
    axis = "alpha1-converted, {method: odd, over: {quantile: 0.5}}]"
    said = refusal(plan, {"alpha1-converted]": axis})
    assert re.match(r"\S+\.yaml: key 'methods': 'odd\+quantile=0\.5': key 'quantile' is of", said)
    (configs / "methods" / "odd.yaml").write_text(f"{text}quantile: 0.5\n")
    said = refusal(plan, {"alpha1-converted]": "alpha1-converted, odd]"})
    assert said.startswith("configs/methods/odd.yaml: key 'quantile' is of threshold 'quantile'")


def test_a_source_must_be_listed_with_the_same_models(plan):
    with pytest.raises(UserError, match="on digits, 'b1-converted' starts from 'ann', which is"):
        plan(
            {
                "datasets: [digits]": "datasets:\n"
                "  - {dataset: digits, models: [fc2], methods: [ann]}\n"
                "  - {dataset: digits, models: [cnn], methods: [b1-converted]}"
            }
        )


def test_an_even_kernel_that_cannot_be_centered_is_refused_without_torch(plan, configs: Path):
    (configs / "models" / "even.yaml").write_text("title: E\nlayers: 4C2-10\npadding: same\n")
    with pytest.raises(UserError, match="model 'even', key 'padding': 'same' centers a kernel"):
        plan({"models: [fc2]": "models: [even]"})


def test_torchvision_names_are_those_that_it_registers():
    from torchvision import datasets, models

    assert torchvision_names.networks() == set(models.list_models(module=models))
    assert torchvision_names.data_sets() == set(datasets.__all__)


def test_a_name_that_torchvision_lacks_is_refused_without_torch(plan, configs: Path):
    (configs / "models" / "net.yaml").write_text("title: N\ntorchvision: resnet19\n")
    with pytest.raises(
        UserError, match=r"models/net\.yaml: key 'torchvision': no network 'resnet19'; "
    ):
        plan({"models: [fc2]": "models: [net]"})
    data = (configs / "datasets" / "mnist.yaml").read_text().replace("MNIST", "mnist", 1)
    data = data.replace("title: mnist", "title: M")
    (configs / "datasets" / "lower.yaml").write_text(data.replace("name: MNIST", "name: mnist"))
    with pytest.raises(UserError, match="no data set 'mnist'"):
        plan({"datasets: [digits]": "datasets: [lower]"})


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("models: [{model: fc2, over: {layers: [16C3-P2x]}}]", r"key 'models': 'fc2\+layers=.*P2x"),
        (
            "datasets: [{dataset: mnist, over: {source.torchvision.name: [MNISTT]}}]",
            "key 'datasets': 'mnist.name=MNISTT': .*no data set 'MNISTT'; did you mean 'MNIST'",
        ),
    ],
)
def test_a_wrong_value_that_a_grid_gives_is_told_of_the_grid(plan, listed: str, said: str):
    key = listed.partition(":")[0]
    old = {"models": "models: [fc2]", "datasets": "datasets: [digits]"}[key]
    with pytest.raises(UserError, match=f"mine.yaml: {said}"):
        plan({old: listed})


def test_a_source_must_be_listed_with_the_same_data_set(plan):
    said = refusal(plan, {"[digits]": "[digits, {dataset: yin-yang, methods: [b1-converted]}]"})
    assert (
        "'datasets.methods': on yin-yang, 'b1-converted' starts from 'ann', which is not listed "
        "there" in said
    )
