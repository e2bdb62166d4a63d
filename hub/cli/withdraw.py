"""`digm withdraw`: income, and what was given back."""

from typing import TYPE_CHECKING, Any

from hub.cli.chain_common import AsJson, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings


def withdraw(as_json: AsJson = False) -> None:
    """Fetch what was earned by sales and passes, and what was given back, to the account here."""

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain.shopkeeping import withdraw_income

        return await withdraw_income(client, deployed) or {"owed": "nothing"}

    tell(job, as_json)
