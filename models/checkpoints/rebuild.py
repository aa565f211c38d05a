"""The names that a checkpoint may refer to, and what they stand for. Everything else is refused with its name."""

from models.checkpoints.errors import CheckpointError, brief
from models.checkpoints.tensors import DTYPES, Storage, Tensor
from models.checkpoints.unpickle import Global, Inert

STORAGES = {
    "torch DoubleStorage": "float64", "torch FloatStorage": "float32", "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16", "torch LongStorage": "int64", "torch IntStorage": "int32",
    "torch ShortStorage": "int16", "torch CharStorage": "int8", "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool", "torch.storage UntypedStorage": None,
}
DTYPE_NAMES = {f"torch {name}": name for name in DTYPES}
# Settings and counters that training checkpoints keep beside the weights: Lightning's hyper-parameters (MedficientSAM's
# are optimiser and scheduler as functools.partial), scores as numpy scalars. They are passed over and never called.
INERT = {
    "functools partial", "argparse Namespace", "collections defaultdict", "collections Counter", "pathlib PosixPath",
    "numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "_codecs encode",
    "torch.optim.adam Adam", "torch.optim.adamw AdamW", "torch.optim.sgd SGD",
    "torch.optim.lr_scheduler CosineAnnealingLR", "torch.optim.lr_scheduler ExponentialLR",
    "torch.optim.lr_scheduler ReduceLROnPlateau", "torch.optim.lr_scheduler StepLR",
}


class Rebuilder:
    """The `find`, `call` and `persistent` of one checkpoint. inert: further names to pass over, "module.name".

    storages: every storage that was referred to, by key; the container fills in their data.
    """

    def __init__(self, inert: tuple[str, ...] = ()):
        self.storages: dict[str, Storage] = {}
        self._inert = INERT | {" ".join(name.rsplit(".", 1)) for name in inert}

    def find(self, name: str) -> Global:
        if name in _CALLS or name in STORAGES or name in DTYPE_NAMES or name in self._inert:
            return Global(name)
        dotted = name.replace(" ", ".")
        raise CheckpointError(f"it must refer to tensors and plain values only; got {brief(dotted)}, which was not run. Where "
                              "you know it as a mere setting beside the weights, --inert NAME passes over it")

    def call(self, function: Global, arguments: object) -> object:
        if function.name in self._inert:
            return Inert(function.name)
        if function.name not in _CALLS or not isinstance(arguments, tuple):
            raise CheckpointError(f"it must call only what rebuilds tensors; got {function.name.replace(' ', '.')} called "
                                  f"with {brief(arguments)}")
        try:
            return _CALLS[function.name](*arguments)
        except TypeError as error:  # more or fewer arguments than it takes
            raise CheckpointError(f"{function.name.replace(' ', '.')} must be called as torch.save writes it; got "
                                  f"{len(arguments)} arguments") from error

    def persistent(self, reference: object) -> Storage:
        """The storage of ("storage", type, key, location, numel[, view of another])."""
        if isinstance(reference, tuple) and reference[:1] == ("module",):
            raise CheckpointError("must be a state dict; got a whole pickled module, whose classes are never imported")
        if not (isinstance(reference, tuple) and len(reference) in (5, 6) and reference[0] == "storage"):
            raise CheckpointError(f"a persistent id must be (storage, type, key, location, numel); got {brief(reference)}")
        kind, key, _, numel = reference[1:5]
        if not (isinstance(kind, Global) and kind.name in STORAGES):
            raise CheckpointError(f"a storage must be of a known type; got {brief(kind)}")
        if not isinstance(key, str) or type(numel) is not int or not 0 <= numel < 1 << 60:
            raise CheckpointError(f"a storage must have a name and a number of elements; got {brief(key)}, {brief(numel)}")
        if len(reference) == 6 and reference[5] is not None:
            raise CheckpointError("a storage must be whole; got a view of another, as PyTorch before 0.4 wrote them: load and "
                                  "save it with a newer one")
        storage = self.storages.setdefault(key, Storage(key, STORAGES[kind.name], numel))
        if (storage.dtype, storage.numel) != (STORAGES[kind.name], numel):
            raise CheckpointError(f"storage {brief(key)} must be the same wherever it is used; got {storage.numel:,} "
                                  f"{storage.dtype} and {numel:,} {STORAGES[kind.name]}")
        return storage


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> Tensor:
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise CheckpointError(f"a tensor must be made of a typed storage; got {brief(storage)}")
    return _view(storage, storage.dtype, offset, size, stride, metadata)


def _tensor_of_bytes(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None) -> Tensor:
    if not isinstance(storage, Storage) or not (isinstance(dtype, Global) and dtype.name in DTYPE_NAMES):
        raise CheckpointError(f"a tensor must be made of a storage and a known dtype; got {brief(storage)}, {brief(dtype)}")
    return _view(storage, DTYPE_NAMES[dtype.name], offset, size, stride, metadata)


def _view(storage, dtype, offset, size, stride, metadata) -> Tensor:
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CheckpointError(f"a tensor's shape and stride must be tuples; got {brief(size)}, {brief(stride)}")
    if metadata:  # conjugated or negated views, whose stored bits are not the values
        raise CheckpointError(f"a tensor must be stored as it is; got one with {brief(metadata)} flags")
    return Tensor(storage, dtype, offset, size, stride)


def _parameter(data, requires_grad, hooks, state=None) -> Tensor:
    if not isinstance(data, Tensor):
        raise CheckpointError(f"a parameter must be made of a tensor; got {brief(data)}")
    return data


def _ordered_dict(items=()) -> dict:
    pairs = items if isinstance(items, list) else list(items) if items == () else None
    if pairs is None or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
                                for pair in pairs):
        raise CheckpointError(f"an OrderedDict must be made of pairs with a string each; got {brief(items)}")
    return dict(pairs)


def _size(items) -> tuple:
    if not isinstance(items, tuple):
        raise CheckpointError(f"a torch.Size must be made of a tuple; got {brief(items)}")
    return items


def _device(kind, index=None) -> str:
    return kind if isinstance(kind, str) else brief(kind)


_CALLS = {
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "collections OrderedDict": _ordered_dict,
    "torch Size": _size,
    "torch device": _device,
}
