"""SAM 2 in training: the first frame of a clip is prompted, the others are tracked (Ravi et al. 2024, arXiv 2408.00714,
section 5 and appendix D.2)."""

import math

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.resampling import resize_image
from models.sam2.build import build as build_network
from models.sam2.build import load_weights as load  # noqa: F401
from models.sam2.build import save_weights as save  # noqa: F401
from models.sam2.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from training import losses as terms
from training import validation
from training.sam2.samples import BOX, config_of


def build(recipe):
    """A freshly initialised network at the recipe's image size; its weights fit the model's own."""
    network = build_network(recipe.model, preprocessing=config_of(recipe).preprocessing)
    for layer in network.memory_attention.layers:
        _look_at_the_same_place(layer.cross_attn_image)
    return network


def _look_at_the_same_place(attention):
    """Equal biases of queries and keys, in the pairs of channels that rotate fastest: at first a token looks at what was
    remembered of its own place and the places next to it. From random weights it looks everywhere alike, and a network that
    has no SAM to start from has still not found its way to the mask after 1,000 batches."""
    channels = attention.q_proj.bias.shape[0]
    # Of each axis four pairs; 2 bias**2 / sqrt(channels) = 2.5 is what one of them adds to the logit of the same place.
    bias = np.zeros((2, channels // 2), np.float32)
    bias[:, :8] = math.sqrt(1.25 * math.sqrt(channels))
    for projection in (attention.q_proj, attention.k_proj):
        projection.bias.assign(jt.array(bias.reshape(-1)))


def trained(network, recipe):
    """All parameters."""
    return [parameter for parameter in network.parameters() if not parameter.is_stop_grad()]


def losses(network, recipe, frames, masks, boxes, kinds):
    """Weighted terms, means over all frames whose mask is the network's own: all of them, or with a mask as the prompt all
    but the first. Of several masks for a frame the best is taught, and the quality of each."""
    found = {"cross_entropy": [], "dice_loss": [], "iou_error": [], "score": []}
    by_box = kinds[0].item() == BOX
    for t, output in enumerate(track(network, frames, masks, boxes if by_box else None)):
        if t or by_box:
            for name, value in _frame_losses(recipe, output, masks[:, t]).items():
                found[name].append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def track(network, frames, masks, boxes=None):
    """The outputs of all frames (N, T, 3, S, S) of clips, the first prompted by masks (N, T, 1, S, S) or boxes (N, 4)."""
    count, length, *shape = frames.shape
    maps = network.forward_image(frames.reshape([count * length, *shape]))
    maps = [part.reshape([count, length, *part.shape[1:]]) for part in maps]
    conditioned, others, outputs = {}, {}, []
    for t in range(length):
        prompt = {}
        if t == 0 and boxes is None:
            prompt = {"masks": masks[:, 0]}
        elif t == 0:
            corners = jt.array(np.array([[TOP_LEFT, BOTTOM_RIGHT]], np.float32)).broadcast([count, 2])
            prompt = {"points": (boxes.reshape([count, 2, 2]), corners)}
        output = network.track_step(t, [part[:, t] for part in maps], conditioned, others, length, **prompt, first=t == 0)
        (others if t else conditioned)[t] = output
        outputs.append(output)
    return outputs


def _frame_losses(recipe, output, masks):
    """output: of N objects with M masks each; masks (N, 1, S, S)."""
    logits = output.low_res_multimasks
    count, several, side, _ = logits.shape
    small = resize_image(masks, side, side, "linear")
    there = (masks.reshape([count, -1]).max(dim=1) > 0).float32()
    targets = small.broadcast(logits.shape)
    cross_entropy = terms.pixel_cross_entropy(logits, targets).mean(dims=[2, 3])
    probability = jt.sigmoid(logits)
    overlap = (probability * targets).sum(dims=[2, 3])
    dice = 1 - (2 * overlap + 1) / (probability.sum(dims=[2, 3]) + targets.sum(dims=[2, 3]) + 1)
    total = recipe.cross_entropy * cross_entropy + recipe.dice * dice
    best = (total.stop_grad() <= total.min(dim=1, keepdims=True).stop_grad()).float32()
    best = best / best.sum(dim=1, keepdims=True)

    def of_best(values):
        # Where the object is not there its masks are not looked at.
        return ((values * best).sum(dim=1) * there).sum() / jt.maximum(there.sum(), 1)

    hit, truth = (logits > 0).float32(), (targets > 0.5).float32()
    both = (hit * truth).sum(dims=[2, 3])
    iou = (both / jt.maximum(hit.sum(dims=[2, 3]) + truth.sum(dims=[2, 3]) - both, 1)).stop_grad()
    error = (jt.abs(output.ious - iou).mean(dim=1) * there).sum() / jt.maximum(there.sum(), 1)
    return {"cross_entropy": recipe.cross_entropy * of_best(cross_entropy), "dice_loss": recipe.dice * of_best(dice),
            "iou_error": recipe.iou * error,
            "score": recipe.score * terms.binary_cross_entropy(output.object_score_logits[:, 0], there)}


def score(network, samples, recipe):
    """Dice of the tracked frames, from the first frame's mask, as `validation.means` has it: by "Modality/dataset" and over
    clips of slices and across cases alike."""
    values = {}
    for start in range(0, len(samples), recipe.batch):
        part = samples[start : start + recipe.batch]
        frames, masks = (np.stack([sample[index] for sample in part]) for index in (2, 3))
        with jt.no_grad():
            outputs = track(network, jt.array(frames), jt.array(masks))
            found = np.stack([output.high_res_masks.numpy()[:, 0] > 0 for output in outputs[1:]], axis=1)
        for sample, clip, truth in zip(part, found, masks[:, 1:, 0] > 0.5):
            values.setdefault(sample[:2], []).append(np.mean([validation.dice(*pair) for pair in zip(clip, truth)]))
    return validation.means(values)
