"""A GPU without a GPU: tensors that say cuda:0 and hold their values on the CPU, and a device that refuses what a GPU would.

    with EmulatedDevice() as device:
        fit = trained(run, 0)  # runtime.device: cuda
        with device.refusing():
            advance(fit, 1)

Always refused, with :class:`Refused`: an operator that mixes devices, a CPU generator on a device tensor, a convolution or BatchNorm whose
input, weight or gradient is not channels_last. Refused inside ``refusing()`` only, since set-up and log points may wait: a copy to the
device from memory that is not pinned, or that the host waits for, and a read by the host beyond ``reads``.

To C++ such a tensor is on the CPU, so that autograd finds its queues and the same kernels run: values equal the CPU's. What asks from
Python (``device``, ``is_cuda``, ``.to``) meets the device. Not emulated: streams' order, kernels that CUDA implements otherwise,
``torch.compile``.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
aten = torch.ops.aten


class Refused(RuntimeError):
    """What a GPU cannot do, or would make the host wait for."""


class DeviceTensor(Tensor):
    """A tensor on the emulated device; ``values`` is where it really lies."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> "DeviceTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype, device=CPU
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Refused(f"{func}: a tensor of the emulated device is used where there is none")

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.values.__reduce_ex__(protocol)


class EmulatedDevice:
    """Enter it, and ``cuda`` means the emulated device in this thread. ``launches``: kernels by operator since :meth:`reset`; ``reads``:
    by the host, since then.
    """

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.reads = 0
        self._allowed: float = float("inf")
        self._pinned: dict[int, Tensor] = {}
        self._on_device = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "EmulatedDevice":
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        _patch_queries(patch)
        self._stack.enter_context(_Operators(self))
        self._stack.enter_context(_Calls(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def reset(self) -> None:
        """Count from zero."""
        self.launches.clear()
        self.reads = 0

    @contextlib.contextmanager
    def refusing(self, reads: int = 0) -> Iterator[None]:
        """Refuse copies that the host waits for, and more than ``reads`` reads."""
        self.reads, self._allowed = 0, reads
        try:
            yield
        finally:
            self._allowed = float("inf")

    @property
    def _strict(self) -> bool:
        return self._allowed != float("inf")

    def read(self, what: str) -> None:
        """The host reads a value: it waits for all that was launched before."""
        self.reads += 1
        if self.reads > self._allowed:
            raise Refused(f"{what}: the host waits for the device")

    def pin(self, t: Tensor) -> Tensor:
        """``t`` in pinned memory, which is kept, so that no later block lies at its address."""
        pinned = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype)
        pinned.copy_(t)
        self._pinned[pinned.untyped_storage().data_ptr()] = pinned
        return pinned

    def is_pinned(self, t: Tensor) -> bool:
        return t.untyped_storage().data_ptr() in self._pinned

    def check_upload(self, t: Tensor, non_blocking: bool) -> None:
        if self._strict and not self.is_pinned(t):
            raise Refused(f"a copy of {tuple(t.shape)} to the device from memory that is not pinned")
        if self._strict and not non_blocking:
            raise Refused(f"a copy of {tuple(t.shape)} to the device that the host waits for (non_blocking is False)")

    def upload(self, t: Tensor, non_blocking: bool = False) -> Tensor:
        """``t`` on the device, with its own memory."""
        self.check_upload(t, non_blocking)
        self.launches["upload"] += 1
        return DeviceTensor(t.detach().clone())

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One operator: checked, carried out on the values, its results on the device if an argument was."""
        leaves = list(_leaves((args, *kwargs.values())))
        ours = [t for t in leaves if isinstance(t, DeviceTensor)]
        others = [t for t in leaves if isinstance(t, Tensor) and not isinstance(t, DeviceTensor)]
        name = func.overloadpacket.__name__
        if not ours:
            made = func(*args, **kwargs)
            if not self._on_device or others:
                return made
            self._count(func, name, args)
            return _mapped(DeviceTensor, made)
        self._check(func, name, args, kwargs, ours, others)
        values = lambda t: t.values if isinstance(t, DeviceTensor) else t
        out = func(*_mapped(values, args), **{key: _mapped(values, value) for key, value in kwargs.items()})
        same = {id(t.values): t for t in ours}
        self._count(func, name, args)
        if name in TO_HOST and isinstance(args[0], Tensor) and not isinstance(args[0], DeviceTensor):
            return out
        return _mapped(lambda t: same.get(id(t)) if id(t) in same else DeviceTensor(t), out)

    def _check(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], ours: list[Any], others: list[Tensor]) -> None:
        if isinstance(kwargs.get("generator"), torch.Generator):
            raise Refused(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
        if name == "copy_" and others:
            if args[0] is ours[0]:
                self.check_upload(args[1], bool(args[2]) if len(args) > 2 else bool(kwargs.get("non_blocking", False)))
            else:
                self.read("copy_ to the host")
        elif name.startswith(("index", "_index_put")) and isinstance(args[1], (list, tuple)):  # an index may come from the host
            for t in (t for t in args[1] if isinstance(t, Tensor) and not isinstance(t, DeviceTensor)):
                self.check_upload(t, False)
        elif any(t.ndim for t in others):
            shapes = [tuple(t.shape) for t in others if t.ndim]
            raise Refused(f"{func}: tensors of {shapes} are on cpu, others on cuda:0")
        if name in WAITING or (name == "index" and any(isinstance(t, Tensor) and t.dtype in (torch.bool, torch.uint8) for t in args[1])):
            self.read(str(func))
        if name in CHANNELS_LAST:
            for t in ours:
                if t.ndim == 4 and _channels_outside(t):
                    raise Refused(f"{func}: {tuple(t.shape)} with strides {t.stride()} is not channels_last")

    def _count(self, func: Any, name: str, args: tuple[Any, ...]) -> None:
        if name.startswith(("_foreach", "_fused")):
            self.launches[name] += _multi_tensor_launches(args)
        elif name not in FREE and not func.is_view:
            self.launches[name] += 1


WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim", "_unique2", "unique_consecutive"),
    *("bincount", "_linalg_eigh", "linalg_eig", "_linalg_svd", "linalg_lstsq", "_linalg_check_errors", "repeat_interleave", "allclose"),
}
"""Operators whose result the host needs."""
TO_HOST = {"copy_"}
UNTOUCHED = {"__get__", "__set__", "__deepcopy__"}
"""Calls that name no device or only read one."""
CHANNELS_LAST = {"convolution", "convolution_backward", "native_batch_norm", "native_batch_norm_backward", "_native_batch_norm_legit"}
FREE = {"_local_scalar_dense", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "_reshape_alias"}
"""Operators that launch nothing."""
MAX_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
MAX_BLOCKS, CHUNK = 320, 65536


def _multi_tensor_launches(args: tuple[Any, ...]) -> int:
    """Kernels of a ``_foreach`` operator, as ATen's ``multi_tensor_apply`` packs them: tensors and blocks of 65,536 elements; one for each
    tensor where lists differ in shapes or strides.
    """
    lists = [a for a in args if isinstance(a, (list, tuple)) and a and all(isinstance(t, Tensor) for t in a)]
    if not lists:
        return 1
    if any(len({_layout(t) for t in column}) > 1 for column in zip(*lists, strict=False)):
        return len(lists[0])
    limit = MAX_TENSORS[min(max(len(lists), 1), 5)]
    launches, tensors, blocks = 0, 0, 0
    for t in lists[0]:
        tensors += 1
        for _ in range(-(-max(t.numel(), 1) // CHUNK)):
            blocks += 1
            if blocks == MAX_BLOCKS:
                launches, tensors, blocks = launches + 1, 1, 0
        if tensors == limit:
            launches, tensors, blocks = launches + 1, 0, 0
    return launches + bool(blocks)


def _layout(t: Tensor) -> tuple[Any, ...]:
    """Shape and strides, without those of sides of length 1, which kernels of the CPU and of CUDA write differently."""
    return tuple(t.shape), tuple(stride for size, stride in zip(t.shape, t.stride(), strict=True) if size > 1)


def _channels_outside(t: Tensor) -> bool:
    """Whether the channels of [B, c, h, w] do not lie innermost. Gaps between images, as where tokens were cut off, do no harm."""
    inner = [stride for size, stride in zip(t.shape[2:], t.stride()[2:], strict=True) if size > 1]
    return t.shape[1] > 1 and bool(inner) and t.stride(1) > min(inner)


def _leaves(arguments: Any) -> Iterator[Any]:
    """What lies in nested lists and tuples."""
    for a in arguments:
        if isinstance(a, (list, tuple)):
            yield from _leaves(a)
        else:
            yield a


def _mapped(change: Callable[[Tensor], Any], a: Any) -> Any:
    """``a`` with every tensor in its nested lists and tuples changed."""
    if isinstance(a, Tensor):
        return change(a)
    if not isinstance(a, (list, tuple)):
        return a
    changed = [_mapped(change, part) for part in a]
    return type(a)(changed) if type(a) in (list, tuple) else tuple(changed)


class _Operators(TorchDispatchMode):
    """Every ATen operator."""

    def __init__(self, owner: EmulatedDevice) -> None:
        super().__init__()
        self._owner = owner

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._owner.run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Every call from Python, before C++ sees a device: it would look for a driver."""

    def __init__(self, owner: EmulatedDevice) -> None:
        super().__init__()
        self._owner = owner

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in UNTOUCHED:
            return func(*args, **kwargs)
        if name == "_parse_to":
            device, *rest = func(*args, **kwargs)
            return CUDA if any(isinstance(t, DeviceTensor) for t in (*args, *kwargs.values())) else device, *rest
        handler = self.HANDLERS.get(name) if args and isinstance(args[0], Tensor) else None
        if handler is not None:
            return handler(self, func, *args, **kwargs)
        wanted = kwargs.get("device")
        on_device = wanted is not None and torch.device(wanted).type == "cuda"
        if on_device:
            kwargs["device"] = CPU
        if kwargs.pop("pin_memory", False):
            return self._owner.pin(func(*args, **kwargs))
        ours = wanted is None and any(isinstance(t, DeviceTensor) for t in _leaves((args, *kwargs.values())))
        if name in ("tensor", "as_tensor", "new_tensor") and (on_device or ours):
            made = torch.tensor(*args[name == "new_tensor" :], **kwargs)
            return made if isinstance(made, DeviceTensor) else self._owner.upload(made).requires_grad_(made.requires_grad)
        before = self._owner._on_device
        self._owner._on_device = on_device or ours
        try:
            return func(*args, **kwargs)
        finally:
            self._owner._on_device = before

    def _to(self, func: Any, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copy = kwargs.pop("copy", False)
        with self:
            device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        changes = {"dtype": dtype or t.dtype, "copy": copy}
        if memory_format is not None:
            changes["memory_format"] = memory_format
        ours, wanted = isinstance(t, DeviceTensor), device or t.device
        if not ours and wanted.type == "cuda":
            self._owner.check_upload(t, non_blocking)
            self._owner.launches["upload"] += 1
            return DeviceTensor(t.detach().to(**{**changes, "copy": True}))
        if ours and wanted.type == "cpu":
            self._owner.read("a copy to the host")
            return t.detach().values.to(**{**changes, "copy": True})
        return t.to(**changes)

    def _cuda(self, func: Any, t: Tensor, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> Tensor:
        return self._to(func, t, CUDA, non_blocking=non_blocking, **kwargs)

    def _cpu(self, func: Any, t: Tensor, **kwargs: Any) -> Tensor:
        return self._to(func, t, CPU, **kwargs)

    def _pin_memory(self, func: Any, t: Tensor, *args: Any) -> Tensor:
        return self._owner.pin(t)

    def _is_pinned(self, func: Any, t: Tensor, *args: Any) -> bool:
        return not isinstance(t, DeviceTensor) and self._owner.is_pinned(t)

    def _to_list(self, func: Any, t: Tensor) -> Any:
        if isinstance(t, DeviceTensor):
            self._owner.read("tolist")
            t = t.detach().values
        return t.tolist()

    def _numpy(self, func: Any, t: Tensor, **kwargs: Any) -> Any:
        if isinstance(t, DeviceTensor):
            raise Refused("numpy: can't convert cuda:0 device type tensor to numpy")
        return t.numpy(**kwargs)

    HANDLERS: dict[str, Callable[..., Any]] = {
        "to": _to,
        "cuda": _cuda,
        "cpu": _cpu,
        "pin_memory": _pin_memory,
        "is_pinned": _is_pinned,
        "tolist": _to_list,
        "numpy": _numpy,
    }


def _patch_queries(patch: pytest.MonkeyPatch) -> None:
    """What is asked about the device, and the few things told to it."""
    answers = {
        "is_available": True,
        "is_initialized": True,
        "is_bf16_supported": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": "Emulated",
        "get_device_capability": (8, 0),
        "mem_get_info": (2**33, 2**34),
        "is_current_stream_capturing": False,
        **dict.fromkeys(("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"), 2**20),
        **dict.fromkeys(("synchronize", "empty_cache", "reset_peak_memory_stats", "manual_seed", "manual_seed_all", "init"), None),
    }
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    patch.setattr(torch.version, "cuda", torch.version.cuda or "12.0")
    patch.setattr(torch.__future__, "_swap_module_params_on_conversion", True)  # parameters keep their identity, as CPU to GPU they do
    start = torch.autocast.__init__

    def autocast(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        start(self, re.sub("^cuda.*", "cpu", device_type), *args, **kwargs)

    patch.setattr(torch.autocast, "__init__", autocast)
    for name in ("is_autocast_enabled", "get_autocast_dtype"):
        asked = getattr(torch, name)
        patch.setattr(torch, name, lambda kind, _asked=asked: _asked(re.sub("^cuda.*", "cpu", kind)))
