"""Sequences and vectors, and the range of what inputs hold."""

import numpy as np
import pytest
import torch
from kit.data import config, everything, fault, write_images, write_npz

from ttfs.data import load
from ttfs.data.places import DATA

NPZ = {"npz": "made.npz"}


@pytest.mark.parametrize(
    ("size", "shape"),
    [((40, 2, 9), [2, 9]), ((40, 9, 2), [2, 9]), ((40, 9), [1, 9]), ((40, 5), [5]), ((40,), [1])],
    ids=["channels-first", "channels-last", "one-channel", "vectors", "numbers"],
)
def test_arrays_of_any_shape_arrive_as_they_are(rng, size, shape):
    arrays = write_npz(rng, size=size)
    data = load(config(NPZ, shape=shape))
    inputs, labels = everything(data.test)
    stored = arrays["x_test"].transpose(0, 2, 1) if size[1:] == (9, 2) else arrays["x_test"]
    assert data.shape == tuple(shape)
    assert torch.equal(inputs, torch.tensor(stored).float().view(-1, *shape) / 255)
    assert labels.tolist() == arrays["y_test"].tolist()


def test_where_both_layouts_fit_channels_come_first(rng):
    arrays = write_npz(rng, size=(40, 3, 3))
    inputs, _ = everything(load(config(NPZ, shape=[3, 3])).test)
    assert torch.equal(inputs, torch.tensor(arrays["x_test"]).float() / 255)


@pytest.mark.parametrize(
    ("size", "shape", "said"),
    [
        ((40, 4), [5], "inputs have 4 features, 'shape' asks for 5"),
        ((40, 1), [5], "inputs have 1 features, 'shape' asks for 5"),
        ((40, 1, 9), [2, 9], "inputs have 1 channels, 'shape' asks for 2"),
        ((40, 2, 8), [2, 9], "inputs are 40 × 2 × 8, which is no N inputs of 'shape: [2, 9]'"),
        ((40, 2, 8), [16], "inputs are 40 × 2 × 8, which is no N inputs of 'shape: [16]'"),
        ((40, 6, 6), [6], "inputs are 40 × 6 × 6, which is no N inputs of 'shape: [6]'"),
        ((40, 6), [1, 6, 6], "inputs are 40 × 6, which is no N inputs of 'shape: [1, 6, 6]'"),
    ],
    ids=str,
)
def test_arrays_that_do_not_fit_the_shape(rng, size, shape, said):
    write_npz(rng, size=size)
    assert said in fault(NPZ, shape=shape)


def test_a_single_number_is_no_array_of_inputs(rng):
    write_npz(rng, x_train=np.float32(0.5))
    assert "no N inputs of 'shape: [1]'" in fault(NPZ, shape=[1])


def test_vectors_in_a_range(rng):
    halves = {f"x_{half}": rng.uniform(-3, 5, (40, 4)) for half in ("train", "test")}
    write_npz(rng, **halves)
    said = fault(NPZ, shape=[4])
    assert "values run from -2." in said
    assert "scale them to [0, 1], or name their ends in key 'range'" in said
    data = load(config(NPZ, shape=[4], range=[-3, 5]))
    assert data.input_range == (-3.0, 5.0)
    assert torch.equal(everything(data.test)[0], torch.tensor(halves["x_test"]).float())
    assert "scale them to [-3, 4]" in fault(NPZ, shape=[4], range=[-3, 4])


def test_the_ends_of_a_range_are_float32_as_the_inputs_are(rng):
    halves = {f"x_{half}": np.full((40, 2), 0.1) for half in ("train", "test")}
    write_npz(rng, **halves)
    data = load(config(NPZ, shape=[2], range=[-0.7, 0.1]))
    low, high = data.input_range
    assert everything(data.test)[0].max() == high == np.float32(0.1)
    assert low == np.float32(-0.7)


def test_a_range_is_of_floats_in_npz_alone(rng):
    write_npz(rng, size=(40, 4))
    assert "uint8, which stand for 0 to 1; delete key 'range'" in fault(
        NPZ, shape=[4], range=[-1, 1]
    )
    write_npz(rng, **{f"x_{half}": np.full((40, 2), 1e300) for half in ("train", "test")})
    assert "values run from inf" in fault(NPZ, shape=[2], range=[0, 1e30])
    write_images(rng, DATA / "made")
    assert "key 'range': inputs of source 'folder' lie in [0, 1]" in fault(
        {"folder": "made"}, range=[0, 2]
    )


@pytest.mark.parametrize("ends", [[1, 1], [2, 1], [0, 1e300], [1e-50, 2e-50]], ids=str)
def test_a_range_that_is_none(rng, ends):
    assert f"key 'range': {ends} is no range" in fault(NPZ, shape=[4], range=ends)


@pytest.mark.parametrize("shape", [[3], [3, 8]], ids=["vectors", "sequences"])
def test_normalized_features_lie_in_their_range(rng, shape):
    halves = {f"x_{half}": rng.uniform(-1, 1, (40, *shape)) for half in ("train", "test")}
    halves["x_test"][0], halves["x_test"][1] = -1, 1
    write_npz(rng, **halves)
    normalize = {"mean": [0.5, 0.2, 0.1], "std": [0.5, 0.25, 0.3]}
    data = load(config(NPZ, shape=shape, range=[-1, 1], normalize=normalize))
    inputs, _ = everything(data.test)
    assert data.input_range == pytest.approx((-4.8, 3.2))
    assert (inputs.min(), inputs.max()) == data.input_range
    third = (halves["x_test"][:, 2] - 0.1) / 0.3
    assert inputs[:, 2].numpy() == pytest.approx(third, abs=1e-6)


@pytest.mark.parametrize("shape", [[36], [6, 6]], ids=["vectors", "sequences"])
def test_only_images_are_moved(rng, shape):
    write_npz(rng, size=(40, *shape))
    said = fault(NPZ, shape=shape, augment={"flip": True})
    assert "key 'augment'" in said
    assert f"inputs are {shape}; set 'augment: none'" in said
    for off in ("none", None, {}, {"shift": 0, "flip": False}):
        assert len(load(config(NPZ, shape=shape, augment=off)).train) == 30


def test_augment_none_moves_no_image(rng):
    write_npz(rng)
    data = load(config(NPZ, augment="none"))
    still, _ = everything(data.train, generator=torch.Generator().manual_seed(0), augment=True)
    plain, _ = everything(data.train, generator=torch.Generator().manual_seed(0))
    assert torch.equal(still, plain)


@pytest.mark.parametrize("shape", [[36], [6, 6], [2, 6, 6]], ids=str)
def test_image_files_are_images_of_one_or_three_channels(rng, shape):
    write_images(rng, DATA / "made")
    assert f"not {shape}" in fault({"folder": "made"}, shape=shape)


@pytest.mark.parametrize("std", [1e-39, 1e-60])
def test_a_range_that_overflows_is_told(rng, std):
    write_npz(rng)
    said = fault(NPZ, normalize={"mean": [0.5], "std": [std]})
    assert "key 'normalize': (value - mean) / std is no finite number of float32" in said
