"""The one question that a simulated fleet asks of the collector's API."""

from __future__ import annotations

import json

from pydantic import ValidationError

from boardherd.api import Api, ApiAway
from boardherd.rack.fleet_report import CountsAnswer


class FleetApi(Api):
    """The API, with its counts."""

    async def counts(self, times: int = 1) -> CountsAnswer | str:
        """Return what the database holds, asking up to ``times``; or else why there is no answer, in words.

        A large database that is busy may be slow to count.
        """
        why = ""
        for _ in range(times):
            try:
                answer = await self._get_json("/api/v1/counts", {})
            except ApiAway as away:
                why = str(away)
                continue
            try:
                return CountsAnswer.model_validate_json(json.dumps(answer))
            except ValidationError:
                return "what answers there is no boardherd collector of this version"
        return why
