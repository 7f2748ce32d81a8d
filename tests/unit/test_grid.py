"""A grid is laid out into cells, each with the part of the configuration that its numbers depend
on.
"""

from pathlib import Path

import pytest
import yaml
from kit.grids import cell

from ttfs.config import Study, load_grid
from ttfs.errors import UserError

NEAREST = """\
from ttfs.methods import Kind, Options


class Nearest(Kind):
    uses_model = False

    class Options(Options):
        power: float = 1.0
        share: float | int = 0.5
        both: int | float | None = None

    make = evaluate = load = None
"""


def test_cells_come_in_the_order_of_the_grid_and_know_their_source(plan):
    grid = plan()
    names = [one.name for one in grid.cells]
    assert names[:3] == [
        "digits/fc2/ann/seed0",
        "digits/fc2/b1-converted/seed0",
        "digits/fc2/b1-finetuned/seed0",
    ]
    assert len(names) == len(set(names)) == 5 * 2
    assert cell("ann").folder == Path("results/cells/digits/fc2/ann/seed1")
    assert grid.folder == Path("results/mine")
    assert grid.source(cell("b1-finetuned")) == cell("b1-converted")
    assert grid.source(cell("b1-converted")) == cell("ann")
    assert grid.source(cell("b1-scratch")) is grid.source(cell("ann")) is None
    assert grid.find("digits/fc2/ann/seed1") == cell("ann")
    assert grid.find("studies/trajectory-digits") == Study("trajectory-digits")
    with pytest.raises(
        UserError, match=r"grid mine has no cell 'digits/fc2/ann/seed2'; .* lists them"
    ):
        grid.find("digits/fc2/ann/seed2")
    with pytest.raises(UserError, match="did you mean 'studies/trajectory-digits'"):
        grid.find("trajectory-digits")


def test_deployments_are_the_product_of_networks_and_chips(plan):
    grid = plan()
    chips = {
        "time_bits=4",
        "time_bits=3",
        "time_bits=4+tuning.epochs=2",
        "time_bits=3+tuning.epochs=2",
    }
    assert set(grid.hardware) == chips
    assert {one.hardware for one in grid.deployments} == chips
    assert len(grid.deployments) == 2 * 2 * 4
    assert {one.method for one in grid.deployments} == {"b1-converted", "b1-finetuned"}
    assert grid.every == (*grid.cells, *grid.deployments, Study("trajectory-digits"))
    all_of_b1 = plan({"deployed: [b1-converted, b1-finetuned]\n": ""})
    assert {one.method for one in all_of_b1.deployments} == {
        "b1-converted",
        "b1-finetuned",
        "b1-scratch",
    }


def test_equal_points_are_one_cell(plan):
    grid = plan({"[ann,": "[ann, {method: ann, over: {learning_rate: [1.0e-3, 2.0e-3]}},"})
    assert list(grid.methods)[:2] == ["ann", "ann+learning_rate=2e-3"]
    assert grid.columns(cell("ann"))["learning_rate"] == "1e-3"
    assert grid.columns(cell("ann+learning_rate=2e-3"))["learning_rate"] == "2e-3"
    assert grid.columns(cell("alpha1-converted"))["learning_rate"] == ""


def test_a_data_set_may_have_models_and_methods_of_its_choice(plan):
    grid = plan(
        {"[digits]": "[digits, {dataset: yin-yang, models: [fc-30], methods: [ann, b1-scratch]}]"}
    )
    mine = {(one.model, one.method) for one in grid.cells if one.dataset == "yin-yang"}
    assert mine == {("fc-30", "ann"), ("fc-30", "b1-scratch")}
    assert {one.model for one in grid.cells if one.dataset == "digits"} == {"fc2"}
    assert not [one for one in grid.deployments if one.dataset == "yin-yang"]


def test_a_kind_without_a_model_is_made_once_a_seed(configs: Path, monkeypatch: pytest.MonkeyPatch):
    import ttfs.methods as methods

    Path("methods").mkdir()
    Path("methods/nearest.py").write_text(NEAREST)
    (configs / "methods" / "nearest.yaml").write_text("title: N\nkind: nearest\nshare: 3\n")
    (configs / "mine.yaml").write_text(
        "datasets: [digits]\nmodels: [fc2, cnn]\nmethods: [ann, nearest]\nseeds: [0, 1]\n"
    )
    monkeypatch.setattr(methods, "__path__", [str(Path("methods").resolve()), *methods.__path__])
    grid = load_grid("configs/mine.yaml")
    assert [one.name for one in grid.cells if one.method == "nearest"] == [
        "digits/none/nearest/seed0", "digits/none/nearest/seed1",
    ]  # fmt: skip
    slice = grid.make_slice(cell("nearest", model="none"))
    assert "model" not in slice
    assert slice["method"] == {"kind": "nearest", "power": 1.0, "share": 3, "both": None}
    assert isinstance(slice["method"]["share"], int)  # a count; 3.0 would be a share


@pytest.mark.parametrize(
    ("dataset", "method", "expected"),
    [
        ("mnist", "", {"epochs": 20, "batch_size": 128, "augment": {"shift": 1}}),
        ("{dataset: mnist, over: {epochs: 9}}", "", {"epochs": 9, "augment": {"shift": 1}}),
        ("mnist", "epochs: 7", {"epochs": 7, "batch_size": 128, "augment": {"shift": 1}}),
        ("{dataset: mnist, over: {epochs: 9}}", "epochs: 7", {"epochs": 7}),
        ("mnist", "batch_size: 3", {"epochs": 20, "batch_size": 3}),
        ("mnist", "augment: {crop: 2}", {"augment": {"shift": 1, "crop": 2}}),
        ("mnist", "augment: {shift: 4}", {"augment": {"shift": 4}}),
        ("mnist", "augment: none", {"augment": {}}),
        ("{dataset: mnist, over: {augment: none}}", "", {"augment": {}}),
        ("{dataset: mnist, over: {augment: none}}", "augment: {crop: 2}", {"augment": {"crop": 2}}),
        ("digits", "", {"augment": {}, "epochs": 40}),
    ],
)
def test_the_budget_is_the_data_set_s_unless_the_method_says_so(
    configs: Path, dataset: str, method: str, expected: dict
):
    path = configs / "methods" / "ann.yaml"
    path.write_text(
        f"title: A\nkind: relu\ntrain:\n  optimizer: adam\n  learning_rate: 1.0e-3\n  {method}\n"
    )
    (configs / "mine.yaml").write_text(
        f"datasets: [{dataset}]\nmodels: [fc2]\nmethods: [ann]\nseeds: [0]\n"
    )
    grid = load_grid("configs/mine.yaml")
    slice = grid.make_slice(grid.cells[0])
    assert {key: slice["method"]["train"][key] for key in expected} == expected
    assert not {"epochs", "batch_size", "augment"} & set(slice["dataset"])


def test_one_device_is_no_part_of_a_slice_and_more_are(configs: Path):
    """Records from before the key keep their digest."""
    (configs / "mine.yaml").write_text(
        "datasets: [digits]\nmodels: [fc2]\nseeds: [0]\n"
        "methods: [{method: ann, over: {devices: [1, 2]}}]\n"
    )
    grid = load_grid("configs/mine.yaml")
    one, two = grid.cells
    assert (one.method, two.method) == ("ann", "ann+devices=2")
    for slice in (grid.make_slice, grid.evaluate_slice):
        assert "devices" not in slice(one)["method"]
        assert slice(two)["method"] == slice(one)["method"] | {"devices": 2}


def test_a_slice_holds_what_its_stage_depends_on_and_nothing_else(plan):
    grid = plan()
    ann, b1, tuned = (
        grid.make_slice(cell(name)) for name in ("ann", "b1-converted", "b1-finetuned")
    )
    assert ann["seed"] == 1
    assert ann["model"]["layers"] == 340
    assert set(ann["method"]) == {"kind", "threads", "device", "train"}
    for key in ("window_growth", "headroom", "check", "source"):
        assert key not in ann["method"]
        assert key not in ann["method"]["train"]
    assert b1["method"]["train"] is None
    assert tuned["method"]["train"]["window_growth"] == 10.0
    assert "check" not in b1["method"]
    assert grid.evaluate_slice(cell("b1-converted"))["method"]["check"]["agreement"] == 99.9
    for slice in (ann, b1, tuned):
        assert not {"title", "note", "citation"} & (
            set(slice["dataset"]) | set(slice["model"]) | set(slice["method"])
        )
        assert yaml.safe_load(yaml.safe_dump(slice)) == slice


def test_the_slice_of_a_chip_holds_a_training_where_there_is_one(plan):
    grid = plan()
    mapped = grid.deploy_slice(cell("b1-converted", hardware="time_bits=4"))
    assert mapped["tuned"] is False
    assert "train" not in mapped
    assert "tuning" not in mapped["hardware"]
    assert {"headroom", "source", "method", "check"}.isdisjoint(mapped)
    tuned = grid.deploy_slice(cell("b1-converted", hardware="time_bits=4+tuning.epochs=2"))
    own = {
        "epochs": 2,
        "learning_rate": 1e-3,
        "batch_size": 128,
        "optimizer": "adam",
        "select": "last",
    }
    assert own.items() <= tuned["train"].items()
    trained = grid.make_slice(cell("ann"))["method"][
        "train"
    ]  # the mapped network was trained as the method ann
    for key in ("augment", "weight_decay", "activity_l1"):
        assert tuned["train"][key] == trained[key]


@pytest.mark.parametrize(
    ("asked", "augment"),
    [
        ("{}", {"crop": 2, "cutout": 3}),
        ("{augment: {cutout: 0, cutmix: 0.5}}", {"crop": 2, "cutout": 0, "cutmix": 0.5}),
        ("{augment: none}", {}),
    ],
)
def test_a_chip_may_have_an_augmentation_of_its_own(plan, asked: str, augment: dict):
    """Its keys take the place of those of the training that the network comes from."""
    one = "{method: b1-scratch, over: {augment: {crop: 2, cutout: 3}}}"
    grid = plan({
        "b1-scratch": one, "[none, {epochs: 2}]": asked,
        "deployed: [b1-converted, b1-finetuned]": "deployed: []",
    })  # fmt: skip
    [method] = [name for name in grid.methods if "cutout" in name]
    [chip] = [name for name in grid.hardware if "time_bits=3" in name]
    assert grid.deploy_slice(cell(method, hardware=chip))["train"]["augment"] == augment


def test_a_network_of_adamw_keeps_it_on_a_chip(plan):
    """The same weight decay would be another one with Adam."""
    varied = "{method: b1-scratch, over: {optimizer: [adamw, sgd]}}, alpha1"
    grid = plan({"b1-scratch, alpha1": varied})
    for optimizer, kept in (("adamw", "adamw"), ("sgd", "adam")):
        place = cell(f"b1-scratch+optimizer={optimizer}", hardware="time_bits=4+tuning.epochs=2")
        assert grid.deploy_slice(place)["train"]["optimizer"] == kept


def test_a_chip_is_tuned_by_plain_steps_whatever_trained_its_network(plan):
    """Without a warm-up, an average of weights or a rate of biases, which belong to long trainings
    at large rates.
    """
    options = "bias_rate: 64.0, averaging: lookahead, warmup: 0.2, schedule: triangular"
    one = f"{{method: b1-scratch, over: {{{options}}}}}"
    grid = plan({"b1-scratch": one, "deployed: [b1-converted, b1-finetuned]": "deployed: []"})
    [method] = [name for name in grid.methods if "lookahead" in name]
    [chip] = [name for name in grid.hardware if "time_bits=3" in name and "tuning" in name]
    train = grid.deploy_slice(cell(method, hardware=chip))["train"]
    assert (train["bias_rate"], train["averaging"], train["warmup"]) == (1.0, "none", None)
    assert (train["optimizer"], train["schedule"]) == ("adam", "cosine")


def test_a_study_depends_on_its_files_and_no_budget(plan):
    slice = plan().study_slice(Study("trajectory-digits"))
    assert set(slice) == {"trajectory", "threads"}
    assert [model["layers"] for model in slice["trajectory"]["models"]] == [
        340,
        "340-340-340-340-340-340-340",
    ]
    assert "epochs" not in slice["trajectory"]["dataset"]
    assert "title" not in slice["trajectory"]["dataset"]


def test_a_model_may_vary_too(plan):
    grid = plan({"[fc2]": "[{model: fc2, over: {layers: [340, 20]}}]"})
    assert list(grid.models) == ["fc2", "fc2+layers=20"]
    assert grid.make_slice(cell("ann", model="fc2+layers=20"))["model"]["layers"] == 20
    assert grid.columns(cell("ann"))["layers"] == "340"
    assert grid.columns(cell("ann", model="fc2+layers=20"))["layers"] == "20"


def test_each_data_set_has_its_reference(plan):
    grid = plan(
        {
            "datasets: [digits]": "datasets:\n"
            "  - digits\n"
            "  - dataset: yin-yang\n"
            "    models: [fc-30]\n"
            "    methods: [{method: ann, over: {learning_rate: 3.0e-2}}]",
        }
    )
    assert grid.references == {"digits": "ann", "yin-yang": "ann+learning_rate=0.03"}
    assert grid.reference_name == "ann"


def test_references_that_differ_have_the_name_of_their_file(plan):
    fast, slow = (f"{{method: ann, over: {{learning_rate: {rate}}}}}" for rate in (3e-2, 1e-2))
    named = {"deployed: [b1-converted, b1-finetuned]": "reference: ann+learning_rate=0.03"}
    of_both = "datasets:\n" + "".join(
        f"  - {{dataset: {dataset}, methods: [{method}]}}\n"
        for dataset, method in (("digits", fast), ("yin-yang", slow))
    )
    grid = plan(named | {"datasets: [digits]\n": of_both})
    assert grid.references["yin-yang"] == "ann+learning_rate=0.01"
    assert grid.reference_name == "ann"
    alone = plan(named | {"[ann, b1": f"[{fast}, ann, b1"})
    assert alone.reference_name == "ann+learning_rate=0.03"


def test_a_column_of_a_key_that_the_data_set_sets_shows_its_value(plan):
    grid = plan({"b1-scratch": "{method: b1-scratch, over: {epochs: [1]}}"})
    assert grid.columns(cell("b1-scratch+epochs=1"))["epochs"] == "1"
    assert grid.columns(cell("ann"))["epochs"] == str(grid.datasets["digits"].config["epochs"])


def test_a_column_of_a_budget_shows_what_the_method_learns_with(plan):
    grid = plan({
        "[digits]": "[{dataset: digits, over: {epochs: [2, 3]}}]",
        "b1-scratch": "{method: b1-scratch, over: {epochs: [1]}}",
    })  # fmt: skip
    own = cell("b1-scratch+epochs=1", dataset="digits+epochs=2")
    assert grid.columns(own)["epochs"] == "1"
    for epochs in ("2", "3"):
        of_data = cell("ann", dataset=f"digits+epochs={epochs}")
        assert grid.columns(of_data)["epochs"] == epochs


def test_a_column_is_filled_by_whichever_key_a_kind_has(configs: Path):
    """Kinds of torch and of scikit-learn have the rate of learning in different places."""
    boosting, net = (
        f"{{method: {name}, over: {{learning_rate: [0.05]}}}}"
        for name in ("gradient-boosting", "ann")
    )
    for methods in (f"[{boosting}, {net}]", f"[{net}, {boosting}]"):
        (configs / "mine.yaml").write_text(
            f"datasets: [digits]\nmodels: [fc2]\nmethods: {methods}\nseeds: [0]\n"
        )
        grid = load_grid("configs/mine.yaml")
        assert {grid.columns(one)["learning_rate"] for one in grid.cells} == {"0.05"}


def test_a_column_of_devices_shows_one_device(plan):
    grid = plan({"b1-scratch": "{method: b1-scratch, over: {devices: [1, 2]}}"})
    for method, devices in (("b1-scratch+devices=2", "2"), ("b1-scratch", "1"), ("ann", "1")):
        assert grid.columns(cell(method))["devices"] == devices


def test_a_block_within_a_column_is_named_not_written_out(configs: Path):
    (configs / "mine.yaml").write_text(
        "datasets: [files, {dataset: files, over: {encoding: [one-hot]}}]\nmodels: [fc2]\n"
        "methods: [logistic-regression]\nseeds: [0]\n"
    )
    grid = load_grid("configs/mine.yaml")
    assert {grid.columns(one)["encoding"] for one in grid.cells} == {"correlative", "one-hot"}


def test_a_data_set_may_be_listed_with_other_models_and_methods(plan):
    grid = plan(
        {
            "datasets: [digits]": "datasets:\n"
            "  - {dataset: digits, models: [fc2], methods: [ann, b1-converted]}\n"
            "  - {dataset: digits, models: [cnn], methods: [ann]}"
        }
    )
    assert [cell.name for cell in grid.cells if cell.seed == 0] == [
        "digits/fc2/ann/seed0", "digits/fc2/b1-converted/seed0", "digits/cnn/ann/seed0",
    ]  # fmt: skip


def test_all_labels_are_one_point_however_they_are_asked_for(configs: Path):
    """No value and null are one: the same id, and the same part of the configuration."""
    slices = []
    for entry in ("files", "{dataset: files, over: {labels: none}}"):
        Path("configs/mine.yaml").write_text(
            f"datasets: [{entry}]\nmodels: [fc2]\nmethods: [logistic-regression]\nseeds: [0]\n"
        )
        grid = load_grid("configs/mine.yaml")
        [one] = grid.cells
        slices.append((one.name, grid.make_slice(one)))
    assert slices[0] == slices[1]
    file = configs / "datasets/files.yaml"
    file.write_text(file.read_text() + "labels: null\n")
    assert load_grid("configs/mine.yaml").make_slice(one) == slices[0][1]
