"""Users, groups, teams, channels, members, chats, as Graph lists them (docs/graph.md, "Reading back")."""

import re
from collections.abc import Mapping
from typing import Any

from graph_simulator.groups import Groups
from graph_simulator.paging import Pager
from graph_simulator.query import only, page_size
from graph_simulator.refusal import bad_request, not_found
from graph_simulator.resource_store import ResourceStore
from graph_simulator.world import Person, Place, World

DEFAULT_PAGE, LARGEST_PAGE = 100, 999
TEAMS_PLAN = {
    "assignedDateTime": "2031-01-01T00:00:00Z",
    "capabilityStatus": "Enabled",
    "service": "TeamspaceAPI",
    "servicePlanId": "57ff2da0-773e-42df-b2af-ffb7a2317929",
}
LICENCE = {"disabledPlans": [], "skuId": "05e9a617-0261-4cee-bb44-138d3ef5d965"}

_TEAMS_ONLY = re.compile(r"resourceProvisioningOptions/any\((\w+):\s*\1\s+eq\s+'team'\)", re.IGNORECASE)
_USERS = re.compile(r"(accountEnabled eq true|assignedLicenses/\$count ne 0)?", re.IGNORECASE)
_EQUALS = re.compile(r"(displayName|department|userType) eq '([^']*)'", re.IGNORECASE)

Options = Mapping[str, str]
Answer = dict[str, Any]


class Directory:
    """The listings of one tenant. `link` is the URL that continues a list, without a query.

    resource_store: contains users that a control created.
    """

    def __init__(self, world: World, pager: Pager, resource_store: ResourceStore | None = None) -> None:
        self._world = world
        self._pager = pager
        self._holdings = resource_store

    def users(self, options: Options, link: str) -> Answer:
        """Return the tenant's users."""
        clause = options.get("$filter", "")
        equals = _EQUALS.fullmatch(clause)
        if not equals and not _USERS.fullmatch(clause):
            raise bad_request("Unsupported or invalid query filter clause specified.", "Request_UnsupportedQuery")
        users = [*(self._user(person) for person in self._world.people), *self._made()]
        if equals:
            users = [user for user in users if str(user.get(equals[1], "")).lower() == equals[2].lower()]
        return self._list(users, options, link)

    def _made(self) -> list[Answer]:
        held = self._holdings.among("user", "", None) if self._holdings is not None else ()
        return [{"assignedPlans": [], **stored.shown()} for stored in held if stored.fields is not None]

    def members(self, groups: Groups, members: Mapping[str, str], options: Options, link: str) -> Answer:
        """Return members of a group, given with their kinds."""
        return self._list(groups.listed(members), options, link)

    def drives(self, user: str, options: Options, link: str) -> Answer:
        """Return the drives of a user: one.

        Raises:
            Refusal: 404.
        """
        person = self._world.named(user)
        if person is None:
            raise not_found("The user was not found.")
        return self._list([{"id": f"b!{person.id}", "driveType": "business"}], options, link)

    def lists(self, site: str, options: Options, link: str) -> Answer:
        """Return the lists of a site: those that hold, or held, an item."""
        place = f"sites/{site.lower()}/lists/"
        owners = {stored.owner for stored in self._holdings or () if stored.owner.lower().startswith(place)}
        return self._list([{"id": owner.rpartition("/")[2]} for owner in sorted(owners)], options, link)

    def user(self, name: str, options: Options) -> Answer:
        """Return a user by id or by user principal name.

        Raises:
            Refusal: 404.
        """
        only(options, "$select")
        person = self._world.named(name)
        if person is None:
            raise not_found(f"Resource '{name}' does not exist.", "Request_ResourceNotFound")
        return _selected(self._user(person), options.get("$select"))

    def groups(self, options: Options, link: str) -> Answer:
        """Return groups: with a filter the teams, without a filter one further group that is not a team."""
        groups = [
            {"id": team.id, "displayName": team.name, "resourceProvisioningOptions": ["Team"]}
            for team in self._world.teams.values()
        ]
        clause = options.get("$filter", "")
        if clause and not _TEAMS_ONLY.fullmatch(clause):
            raise bad_request("Unsupported or invalid query filter clause specified.", "Request_UnsupportedQuery")
        if not clause:
            everyone = {"id": self._world.tenant, "displayName": "Everyone", "resourceProvisioningOptions": []}
            groups.append(everyone)
        return self._list(groups, options, link)

    def teams(self, options: Options, link: str) -> Answer:
        """Return the teams."""
        teams = [{"id": team.id, "displayName": team.name, "description": None} for team in self._world.teams.values()]
        return self._list(teams, options, link)

    def channels(self, team_id: str, options: Options, link: str) -> Answer:
        """Return a team's channels.

        Raises:
            Refusal: 404.
        """
        channels = [
            {"id": place.channel, "displayName": place.title, "membershipType": "standard"}
            for place in self._world.channels_of(self._team(team_id))
        ]
        return self._list(channels, options, link)

    def team_members(self, team_id: str, options: Options, link: str) -> Answer:
        """Return a team's members.

        Raises:
            Refusal: 404.
        """
        team = self._world.teams[self._team(team_id)]
        return self._list([self._member(person) for person in team.members], options, link)

    def place_members(self, place_path: str, options: Options, link: str) -> Answer:
        """Return the members of a chat or a channel.

        Raises:
            Refusal: 404.
        """
        place = next((place for place in self._world.places.values() if place.path.lower() == place_path.lower()), None)
        if place is None:
            raise not_found("The channel or chat was not found.")
        return self._list([self._member(person) for person in place.members], options, link)

    def chats(self, user_id: str, options: Options, link: str) -> Answer:
        """Return a user's chats.

        Raises:
            Refusal: 404.
        """
        person = self._world.person(user_id.lower())
        if person is None:
            raise not_found("The user was not found.")
        return self._list([_chat(place) for place in self._world.chats_of(person)], options, link)

    def _team(self, team_id: str) -> str:
        if team_id.lower() not in self._world.teams:
            raise not_found("The team was not found.")
        return team_id.lower()

    def _user(self, person: Person) -> Answer:
        name = self._world.principal_name(person.id)
        return {
            "id": person.id,
            "displayName": person.name,
            "userPrincipalName": name,
            "mail": name,
            "accountEnabled": True,
            "assignedLicenses": [LICENCE] if person.licensed else [],
            "assignedPlans": [TEAMS_PLAN] if person.licensed else [],
        }

    def _member(self, person: Person) -> Answer:
        return {
            "@odata.type": "#microsoft.graph.aadUserConversationMember",
            "id": f"{person.id}#member",
            "userId": person.id,
            "displayName": person.name,
            "tenantId": self._world.tenant,
            "roles": [],
        }

    def _list(self, items: list[Answer], options: Options, link: str) -> Answer:
        if "$skiptoken" in options:
            return self._pager.next_page(options["$skiptoken"])
        only(options, "$top", "$select", "$filter", "$count")
        items = [_selected(item, options.get("$select")) for item in items]
        return self._pager.page(link, items, page_size(options, DEFAULT_PAGE, LARGEST_PAGE))


def _selected(item: Answer, wanted: str | None) -> Answer:
    names = {"@odata.type", "id", *(wanted or "").split(",")}
    return {name: value for name, value in item.items() if not wanted or name in names}


def _chat(place: Place) -> Answer:
    one_to_one = str(place.chat).endswith("@unq.gbl.spaces")
    meeting = str(place.chat).startswith("19:meeting_")
    kind = "oneOnOne" if one_to_one else "meeting" if meeting else "group"
    return {"id": place.chat, "topic": None if one_to_one else place.title, "chatType": kind}
