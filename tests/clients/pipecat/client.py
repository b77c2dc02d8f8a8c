"""Makes, finds, enters and takes away a room with the helper of pipecat-ai, at the Daily whose address and key are given.
Without these, prints the properties of rooms and tokens that pipecat-ai knows, each with the kind of its value.

The helper's file is loaded by itself: its package would load every transport that pipecat has.
"""

import asyncio
import importlib.util
import json
import pathlib
import sys
import time

import aiohttp

place = pathlib.Path(importlib.util.find_spec("pipecat").submodule_search_locations[0])
spec = importlib.util.spec_from_file_location("daily_helper", place / "transports" / "daily" / "utils.py")
daily = importlib.util.module_from_spec(spec)
sys.modules["daily_helper"] = daily
spec.loader.exec_module(daily)


async def main(url: str, key: str) -> None:
    async with aiohttp.ClientSession() as session:
        helper = daily.DailyRESTHelper(daily_api_key=key, daily_api_url=url, aiohttp_session=session)
        properties = daily.DailyRoomProperties(exp=time.time() + 600, eject_at_room_exp=True)
        params = daily.DailyRoomParams(name="appt-2", privacy="private", properties=properties)
        room = await helper.create_room(params)
        assert room.url == "https://clinic.daily.co/appt-2", room
        found = await helper.get_room_from_url(room.url)
        assert (found.id, found.privacy) == (room.id, "private"), found
        token = await helper.get_token(room.url, 60, owner=True)
        assert token.count(".") == 2, "a JSON Web Token has three parts"
        assert await helper.delete_room_by_url(room.url)
        assert await helper.delete_room_by_name("appt-2"), "a second time is no failure"
        print("kept")


def kind_of(schema: dict) -> str:
    [kind] = {one.get("type", "object") for one in schema.get("anyOf", [schema])} - {"null"}
    return "number" if kind == "integer" else kind


def kinds_of(model: type) -> dict[str, str]:
    return {name: kind_of(schema) for name, schema in model.model_json_schema()["properties"].items()}


if len(sys.argv) > 1:
    asyncio.run(main(*sys.argv[1:]))
else:
    room, token = kinds_of(daily.DailyRoomProperties), kinds_of(daily.DailyMeetingTokenProperties)
    print(json.dumps({"room": room, "token": token}))
