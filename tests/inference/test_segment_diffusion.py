"""Segmentation by diffusion, with denoisers in numpy whose answer is known."""

import numpy as np
import pytest

from inference.case import Case, CaseError
from inference.diffusion.picture import picture
from inference.diffusion.schedule import Diffusion
from inference.engines import EngineError
from inference.segment import diffusion as module
from inference.segment.diffusion import DiffusionSegmenter, from_environment

FACTS = {"family": "tiny", "image_size": "16", "channels": "3", "value_range": "-1,1", "self_condition": "true",
         "timesteps": "20", "schedule": "cosine", "objective": "pred_x0", "steps": "4", "samples": "3", "fusion": "mean"}
RNG = np.random.default_rng(0)


class Bright:
    """Says that the object is where the first channel is above 0; `unsure` adds as much of the noise that it is shown."""

    concurrent = False

    def __init__(self, unsure=0.0, **facts):
        self.facts, self.unsure, self.calls = FACTS | facts, unsure, []

    def __call__(self, **inputs):
        self.calls.append({name: array.copy() for name, array in inputs.items()})
        return np.where(inputs["image"][:, :1] > 0, 1, -1).astype(np.float32) + self.unsure * inputs["noisy"]


@pytest.mark.parametrize("object_", [np.s_[16:32], np.s_[:, 12:36]], ids=["rows", "columns"])
def test_an_image_is_labelled_where_the_denoiser_sees_the_object(object_):
    """Bands, which have no corners for the enlargement to round."""
    image = np.zeros((64, 48, 3), np.uint8)
    image[object_] = 255
    engine = Bright()
    labels = DiffusionSegmenter(engine)(Case("a", image, None))
    assert labels.dtype == np.uint8 and labels.shape == (64, 48)
    assert np.array_equal(labels, (image[..., 0] > 0).astype(np.uint8))
    first = engine.calls[0]
    assert set(first) == {"noisy", "time", "image", "guess"} and len(engine.calls) == 4
    assert first["time"].dtype == np.float32 and first["time"].tolist() == [19] * 3
    assert all(first[name].dtype == np.float32 for name in ("noisy", "image", "guess"))
    assert first["noisy"].shape == first["guess"].shape == (3, 1, 16, 16) and first["image"].shape == (3, 3, 16, 16)


def test_boxes_are_not_needed_and_not_looked_at():
    assert DiffusionSegmenter.needs_boxes is False
    image = RNG.integers(0, 256, (20, 20), np.uint8)
    segment = DiffusionSegmenter(Bright(unsure=0.5))
    assert np.array_equal(segment(Case("a", image, None)), segment(Case("a", image, np.array([[1, 1, 3, 3]], np.int32))))


def test_a_volume_goes_slice_by_slice():
    volume = RNG.integers(0, 256, (3, 16, 16), np.uint8)
    segment = DiffusionSegmenter(Bright(unsure=0.5))
    labels = segment(Case("v", volume, None))
    assert labels.shape == volume.shape
    for z in range(3):
        assert np.array_equal(labels[z], segment(Case(f"slice{z}", volume[z], None)))


def test_samples_depend_on_seed_image_and_number_alone(monkeypatch):
    one, other = (RNG.integers(0, 256, (16, 16), np.uint8) for _ in range(2))
    engine = Bright(unsure=0.3)
    draw = DiffusionSegmenter(engine).draw
    drawn = draw(one, range(5))
    assert drawn.shape == (5, 16, 16) and drawn.dtype == np.float32 and 0 <= drawn.min() <= drawn.max() <= 1
    assert np.array_equal(draw(one, [3, 1]), drawn[[3, 1]]) and len({sample.tobytes() for sample in drawn}) == 5
    assert not np.array_equal(DiffusionSegmenter(engine, seed=1).draw(one, range(5)), drawn)
    draw(other, [0])
    first_noises = [call["noisy"][0] for call in engine.calls if call["time"][0] == 19]
    assert not np.array_equal(first_noises[-1], first_noises[0])  # another image, other noise
    monkeypatch.setattr(module, "PIXELS", 2 * 256)  # in parts of two
    engine.calls.clear()
    assert np.array_equal(draw(one, range(5)), drawn)
    assert {len(call["noisy"]) for call in engine.calls} == {1, 2}


def test_a_denoiser_without_self_conditioning_gets_no_guess():
    engine = Bright(self_condition="false")
    DiffusionSegmenter(engine)(Case("a", np.zeros((16, 16), np.uint8), None))
    assert set(engine.calls[0]) == {"noisy", "time", "image"}


def test_arguments_replace_the_file_s_facts():
    engine = Bright()
    assert DiffusionSegmenter(engine).ensemble == module.Ensemble(4, 3, "mean")
    segment = DiffusionSegmenter(engine, steps=7, samples=2, fusion="majority")
    segment(Case("a", np.zeros((16, 16), np.uint8), None))
    assert len(engine.calls) == 7 and len(engine.calls[0]["noisy"]) == 2
    fused, _ = segment.probability(np.full((8, 8), 200, np.uint8))
    assert set(np.unique(fused)) <= {0, 0.5, 1}


@pytest.mark.parametrize("arguments, message", [
    ({"steps": 21}, "steps must be 1..20; got 21"), ({"steps": 0}, "steps must be 1 or more; got 0"),
    ({"samples": 0}, "samples must be 1 or more; got 0"), ({"seed": -1}, "seed must be 0 or more; got -1"),
    ({"fusion": "best"}, "fusion must be one of mean, majority, staple; got 'best'"),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        DiffusionSegmenter(Bright(), **arguments)


def test_uncertainty_is_where_samples_differ():
    """Sure of one half of the picture; of the other it says what the noise says."""
    class HalfSure(Bright):
        def __call__(self, **inputs):
            answer = np.sign(inputs["noisy"])
            answer[..., :8] = 1
            return answer.astype(np.float32)

    fused, uncertain = DiffusionSegmenter(HalfSure(), samples=16).probability(np.zeros((32, 32), np.uint8))
    assert fused.shape == uncertain.shape == (32, 32) and fused.dtype == uncertain.dtype == np.float32
    assert (fused[:, :14] == 1).all() and not uncertain[:, :14].any()
    assert uncertain[:, 18:].mean() > 0.1 and uncertain.max() <= 0.25


def test_a_picture_by_hand():
    """Means of 2 x 2 pixels, 0..255 to -1..1; grey in all channels, colours in theirs."""
    image = np.array([[0, 0, 255, 255], [0, 0, 255, 255], [51, 153, 0, 0], [51, 153, 0, 255]], np.uint8)
    expected = np.array([[0, 255], [102, 63.75]]) / 127.5 - 1
    found = picture(image, 2, 3)
    assert found.shape == (3, 2, 2) and found.dtype == np.float32 and np.abs(found - expected).max() < 1e-6
    four = np.stack([image, image // 2, image // 3, image // 4], axis=-1)
    assert np.abs(picture(four, 4, 4) - (np.moveaxis(four, -1, 0) / 127.5 - 1)).max() < 1e-6


def test_an_image_of_other_channels_is_refused():
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(CaseError, match=r"^b: imgs must be \(H, W\) or \(H, W, 4\) for this model; got \(16, 16, 3\)$"):
        DiffusionSegmenter(Bright(channels="4"))(Case("b", image, None))


def test_the_environment_gives_arguments():
    given = {"DIFFUSION_STEPS": "8", "DIFFUSION_SAMPLES": "2", "DIFFUSION_FUSION": "staple", "DIFFUSION_SEED": "0"}
    assert from_environment(given) == {"steps": 8, "samples": 2, "fusion": "staple", "seed": 0}
    assert from_environment({"DIFFUSION_STEPS": ""}) == {}
    with pytest.raises(EngineError, match="^DIFFUSION_STEPS must be a whole number, at least 0; got -3$"):
        from_environment({"DIFFUSION_STEPS": "-3"})


def test_objectives_and_schedules_come_from_the_file():
    """A denoiser that knows the mask and says it as its file's facts demand."""
    image = np.zeros((16, 16), np.uint8)
    image[4:9, 5:12] = 255
    x0 = np.where(image > 0, 1.0, -1.0)
    for objective in ("pred_noise", "pred_v"):
        for schedule in ("cosine", "linear"):
            known = Diffusion(20, schedule, objective)

            class Knowing(Bright):
                def __call__(self, noisy, time, known=known, **others):
                    time = time.astype(int)
                    abar = known.alphas_cumprod[time].reshape(-1, 1, 1, 1)
                    return known.target(x0, time, (noisy - np.sqrt(abar) * x0) / np.sqrt(1 - abar)).astype(np.float32)

            labels = DiffusionSegmenter(Knowing(objective=objective, schedule=schedule))(Case("a", image, None))
            assert np.array_equal(labels, image // 255)
