import numpy as np
from jittor import nn
from jittor.nn import gelu as imported_by_name


def wide(shape):
    return np.resize(np.linspace(-6, 8, 40, dtype=np.float32), shape)


def test_activations(agrees, kinds):
    modules = {
        "relu_module": nn.ReLU(), "leaky_module": nn.LeakyReLU(0.1), "relu6_module": nn.ReLU6(),
        "softmax_module": nn.Softmax(1),
        "gelu_module": nn.GELU(), "silu_module": nn.SiLU(), "elu_module": nn.ELU(0.5), "tanh_module": nn.Tanh(),
        "sigmoid_module": nn.Sigmoid(), "softplus_module": nn.Softplus(), "prelu": nn.PReLU(),
        "prelu_channels": nn.PReLU(4),
    }

    def run(self, x):
        image = x.reshape(x.shape[0], 4, 2, 5)
        results = {name: getattr(self, name)(image if name == "prelu_channels" else x) for name in modules}
        return results | {
            "relu": nn.relu(x), "gelu": imported_by_name(x), "leaky_relu": nn.leaky_relu(x, 0.2),
            "hardtanh": nn.hardtanh(x),
            "mish": nn.mish(x), "softplus": nn.softplus(x, 2.0), "softmax": nn.softmax(x, dim=-1), "silu": nn.silu(x),
            "log_softmax": nn.log_softmax(x, dim=1), "log_sum_exp": nn.logsumexp(x, 1),
            "hardswish": x * nn.relu6(x + 3) / 6,
            "softmax_of_all": nn.softmax(image, dim=(2, 3)),
        }

    exported = agrees(run, (1, 40), modules=modules, values=wide, tolerance=5e-6)
    found = kinds(exported)
    # Whole operators, not their arithmetic.
    assert (found.count("Relu"), found.count("LeakyRelu"), found.count("Softmax"), found.count("Elu")) == (2, 2, 2, 1)
