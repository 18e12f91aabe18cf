"""What CUDA's devices are, once the program uses them."""

from __future__ import annotations

import json
from typing import Any

import torch

from .. import _native
from .notes import failed


def tell_devices() -> None:
    """Tells the trace of the devices that the program sees, in torch's order. CUDA must be in use."""
    try:
        devices = [
            _device(index, torch.cuda.get_device_properties(index))
            for index in range(torch.cuda.device_count())
        ]
        _native.devices(json.dumps(devices))
    except Exception as error:
        failed("the devices", error)


def _device(index: int, properties: Any) -> dict[str, Any]:
    uuid = getattr(properties, "uuid", None)
    told: dict[str, Any] = {
        "index": index,
        # Torch leaves out the prefix that the driver has.
        "uuid": None if uuid is None else f"GPU-{str(uuid).removeprefix('GPU-')}",
        "name": properties.name,
        "total_bytes": properties.total_memory,
    }
    parts: list[Any] = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    if None not in parts:
        domain, bus, device = map(int, parts)
        told["pci_bus_id"] = f"{domain:08X}:{bus:02X}:{device:02X}.0"
    return told
