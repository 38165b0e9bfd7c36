"""Whether a broker lets a message through, which is otherwise never told: a denied one looks like any other."""

from __future__ import annotations

from typing import Any

from boardherd_shared.link import FAILURE, Session


async def may_publish(session: Session, topic: str, payload: bytes) -> bool | None:
    """Publish with QoS 1, not retained, and return whether the broker let it through; None if it does not tell.

    Only MQTT 5 has a word for a denied message. Nothing else may be published over ``session`` meanwhile. Raises
    LinkDown.
    """
    codes: list[int] = []
    mqtt = session._client._client  # noqa: SLF001 - the library drops the code of the answer
    then = mqtt.on_publish

    def on_publish(*args: Any) -> None:
        codes.append(args[3].value)
        if then:
            then(*args)

    mqtt.on_publish = on_publish
    try:
        await session.publish(topic, payload, expiry_s=1)
    finally:
        mqtt.on_publish = then
    return codes[-1] < FAILURE if codes and session.protocol == 5 else None
