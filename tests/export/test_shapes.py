import jittor as jt
import numpy as np
from jittor import nn

from export import Input, to_onnx


def test_reshape_and_transpose(agrees, kinds):
    def run(self, x):
        batch, channels, height, width = x.shape
        return {
            "reshape": x.reshape(batch, -1), "view": x.view([-1, channels * height, width]), "flatten": x.flatten(2),
            "merged_batch": x.reshape(batch * channels, height, width), "unflattened": x.flatten(1).reshape(x.shape),
            "permute": x.permute(0, 2, 3, 1), "swap": x.transpose(1, -1), "reversed": x.transpose(),
            "listed": x.permute([1, 0, 3, 2]),
            "unsqueeze": x.unsqueeze(1), "squeeze": x.unsqueeze(-1).squeeze(-1),
            "flip": x.flip([2, 3]), "roll": jt.roll(x, (1, -2), (2, 3)), "roll_far": x.roll(7, 3), "t": x.t(),
        }

    exported = agrees(run, (1, 3, 4, 2))
    assert "Shape" not in kinds(exported)  # one -1 says it all


def test_several_into_one_and_one_into_several(agrees, kinds):
    def run(self, x):
        first, second = x.split(2, dim=1)
        parts = x.chunk(3, dim=3)
        return {
            "concat": jt.concat([x, x * 2], dim=1), "cat": jt.cat([first, second], -2),
            "stack": jt.stack([x, x], dim=1),
            "mixed_types": jt.concat([x, x.int32()], dim=2), "sections": x.split([1, 3], 1)[1], "first": first,
            "chunk": parts[0], "last_chunk": parts[2], "unbind": x.unbind(1)[3], "repeat": x.repeat(1, 2, 1, 3),
            "repeat_more": x.repeat((2, 1, 1, 1, 1)), "each_twice": x.repeat_interleave(2, 2),
            "expand": x[:, :1].expand(-1, 5, -1, -1),
            "broadcast": x.mean((2, 3)).broadcast(x, [2, 3]), "expand_as": x[:, :, :1].expand_as(x),
            "positions": jt.index(x.shape, 3) + x.int32() * 0, "rows": x.index(2),
            "zeros": jt.zeros((x.shape[0], 2)) + x[:, 0, 0, :2],
        }

    found = kinds(agrees(run, (1, 4, 2, 5)))
    assert found.count("Split") == 3


def test_a_single_batch_of_a_var_and_its_parts_as_jittor_indexes_them(agrees):
    order, mask = np.array([2, 0, 1]), jt.array(np.array([True, False, True]))
    grid = jt.array(np.array([[0, 1], [1, 0]]))

    def run(self, x):
        return {
            "int": x[:, 1], "negative": x[:, -1], "slice": x[:, 1:], "stop_beyond": x[:, 1:100],
            "from_the_end": x[:, :, -2:],
            "step": x[..., ::2], "backward": x[:, ::-1], "back_part": x[:, :, 3:0:-2], "ellipsis": x[..., 0],
            "none": x[:, None, 0],
            "at_the_end": x[..., None], "list": x[:, [0, -1]], "array": x[:, order], "var": x[:, :, grid],
            "mask": x[:, mask],
            "two_arrays": x[:, [0, 1], [1, 2]], "apart": x[:, [0, 2], :, [1, 1]], "int_and_array": x[:, 0, [1, 2]],
            "after_the_array": x[:, [0, 1], :, None, 1], "batch": x[0], "number": x[0, 1, 2, 3] + x[:, 0, 0, 0],
            "gather": jt.gather(x, 1, (x[:, :2] > 0).int32()), "select": x.getitem((slice(None), jt.array([1, 1]))),
            "scatter": jt.scatter(x, 1, jt.zeros((1, 1, 4, 5), dtype="int32") + (x[:, :1] > 0).int32(), x[:, :1] * 2),
        }

    agrees(run, (1, 3, 4, 5))


def test_traced_indices(agrees):
    table = nn.Embedding(10, 4)
    agrees(lambda self, ids: {
        "embedding": self.table(ids), "one_hot": nn.one_hot(ids, 10), "row": self.table.weight[ids[:, 0]],
    }, Input("ids", (1, 6), "int32", below=10), modules={"table": table})


def test_sorting(agrees):
    def distinct(shape):
        return np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype(np.float32)

    agrees(lambda self, x: {
        "order": jt.argsort(x, 1)[0], "sorted": jt.argsort(x, dim=1, descending=True)[1], "top": x.topk(2, 1)[0],
        "top_index": x.topk(2, 1)[1], "least": x.topk(3, -1, largest=False)[0], "sort": x.sort(1)[0],
    }, (1, 7), values=distinct)


def test_padding(agrees):
    modules = {"reflection": nn.ReflectionPad2d(1), "zero": nn.ZeroPad2d((1, 0, 2, 1)),
               "constant": nn.ConstantPad2d(1, 3.0),
               "replication": nn.ReplicationPad2d(2)}

    def run(self, x):
        results = {name: getattr(self, name)(x) for name in modules}
        return results | {
            "pad": nn.pad(x, [1, 2]), "filled": nn.pad(x, (1, 0, 0, 2), value=-1.5),
            "reflect": nn.pad(x, [2, 1, 1, 1], "reflect"),
            "replicate": nn.pad(x, [1, 1, 2, 0], mode="replicate"), "depth": nn.pad(x, [0, 0, 0, 0, 1, 1]),
            "circular": nn.pad(x, [1, 2, 0, 3], mode="circular"),
        }

    agrees(run, (1, 2, 4, 3), modules=modules)


def test_dynamic_height_and_width_are_computed_by_the_graph(agrees):
    """Shapes that are derived from shapes: pixel shuffle, windows, ceilings, means."""
    def run(self, image):
        batch, channels, height, width = image.shape
        shuffled = image.reshape(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        windows = image.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 3, 5, 1)
        return {
            "shuffled": shuffled.reshape(batch, channels // 4, height * 2, width * 2),
            "windows": windows.reshape(-1, 4, channels), "tokens": image.flatten(2).transpose(1, 2),
            "back": image.flatten(2).reshape(batch, channels, height, width), "upper": image[:, :, :height // 2],
            "per_pixel": image.sum((2, 3)) / (height * width), "scaled": image * width ** -0.5,
            "last": image[:, :, height - 1],
            "planes": jt.zeros((batch, 1, height, width)) + image[:, :1],
            "rows": jt.arange(height) + image[0, 0, 0, :1].int32() * 0,
            "padded": nn.pad(image, [0, width // 2]), "tiled": image[:, :1, :1].broadcast([batch, 1, height, width]),
            "ceiling": image[:, :, :-(-height // 4)], "parts": image.split([height // 2, height - height // 2], 2)[1],
            "twice": nn.interpolate(image, scale_factor=2, mode="nearest"),
            "enlarged": nn.resize(image, (height + 2, width), "bilinear"),
        }

    spec = Input("image", (1, 4, 4, 8), dynamic={0: "batch", 2: "height", 3: "width"})
    sizes = {"batch": 1, "height": 8, "width": 4}, {"batch": 3, "height": 6, "width": 10}
    exported = agrees(run, spec, sizes=sizes, tolerance=1e-5)
    dims = [dim.dim_param or dim.dim_value for dim in exported.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 4, "height", "width"]


def test_an_axis_that_is_not_dynamic_is_a_number(kinds):
    model, _ = to_onnx(nn.Flatten(), [Input("x", (2, 3, 4), dynamic={})])
    dims = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert dims == [2, 12]


def test_axes_of_one_name_have_one_size(agrees):
    image = Input("image", (1, 2, 4), dynamic={0: "batch", 2: "length"})
    mask = Input("mask", (1, 4), dynamic={0: "batch", 1: "length"})
    agrees(lambda self, image, mask: image * mask.unsqueeze(1), image, mask,
           sizes=({"batch": 1, "length": 3}, {"batch": 2, "length": 5}))
