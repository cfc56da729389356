"""The people and places of a tenant: users, teams with channels, chats."""

import random
import uuid
from dataclasses import dataclass, field

from graph_simulator import prose


@dataclass(frozen=True)
class Person:
    """A user of the tenant."""

    id: str
    name: str
    licensed: bool = True
    """Whether the user has a Teams plan: guests, rooms and some others have none, and no chats to read."""


@dataclass(frozen=True)
class Place:
    """A place of messages: a chat, or a channel of a team. Ids are raw, as in notifications."""

    title: str
    members: tuple[Person, ...]
    chat: str | None = None
    team: str | None = None
    channel: str | None = None

    @property
    def path(self) -> str:
        """The place relative to the root of Graph."""
        return f"chats/{self.chat}" if self.chat else f"teams/{self.team}/channels/{self.channel}"


@dataclass(frozen=True)
class Team:
    """A team; its id is that of its group."""

    id: str
    name: str
    members: tuple[Person, ...]


@dataclass
class World:
    """One tenant's people and places. The same seed populates a tenant identically in every run."""

    tenant: str
    people: list[Person] = field(default_factory=list)
    teams: dict[str, Team] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    def add_team(self, team_id: str, name: str, members: tuple[Person, ...]) -> Team:
        """Add a team without channels."""
        return self.teams.setdefault(team_id, Team(team_id, name, members))

    def add(self, place: Place) -> Place:
        """Add a place, or return the existing place with its path."""
        return self.places.setdefault(place.path, place)

    def person(self, person_id: str) -> Person | None:
        """Return the user with an id."""
        return next((person for person in self.people if person.id == person_id), None)

    def principal_name(self, person_id: str) -> str:
        """Return the user principal name of a user."""
        return f"{person_id[:8]}@{self.tenant[:8]}.example.org"

    def named(self, name: str) -> Person | None:
        """Return the user with an id or a user principal name, in any case."""
        wanted = name.lower()
        return next(
            (person for person in self.people if wanted in (person.id, self.principal_name(person.id).lower())), None
        )

    def chats_of(self, person: Person) -> list[Place]:
        """Return the chats that a user takes part in."""
        return [place for place in self.places.values() if place.chat and person in place.members]

    def channels_of(self, team_id: str) -> list[Place]:
        """Return the channels of a team."""
        return [place for place in self.places.values() if place.team == team_id]

    def chat(self, chat_id: str) -> Place:
        """Return the chat with an id; it is created, with every user as member, if it does not exist."""
        return self.add(Place("Chat", tuple(self.people), chat=chat_id))

    def channel(self, team_id: str, channel_id: str) -> Place:
        """Return the channel with these ids; team and channel are created if they do not exist."""
        team = self.add_team(team_id, "Team", tuple(self.people))
        return self.add(Place("Channel", team.members, team=team_id, channel=channel_id))


def populated(tenant: str, seed: int) -> World:
    """Return a tenant with the sample company in it."""
    chance = random.Random(f"{tenant}/{seed}")
    world = World(tenant, [Person(_guid(chance), name) for name in prose.NAMES])
    for team_name, channels in prose.TEAMS.items():
        team = world.add_team(_guid(chance), team_name, tuple(chance.sample(world.people, 9)))
        for title in channels:
            channel = f"19:{chance.getrandbits(128):032x}@thread.tacv2"
            world.add(Place(title, team.members, team=team.id, channel=channel))
    for number, title in enumerate(prose.CHAT_TOPICS):
        kind = "meeting_" if number == 0 else ""
        members = tuple(chance.sample(world.people, chance.randint(3, 6)))
        world.add(Place(title, members, chat=f"19:{kind}{chance.getrandbits(128):032x}@thread.v2"))
    for _ in range(3):
        first, second = chance.sample(world.people, 2)
        title = f"{first.name}, {second.name}"
        world.add(Place(title, (first, second), chat=f"19:{first.id}_{second.id}@unq.gbl.spaces"))
    world.people += [Person(_guid(chance), name, licensed=False) for name in ("A guest", "Meeting room")]
    return world


def _guid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
