"""`digm sales`: what was sold."""

from typing import TYPE_CHECKING

from digm.errors import CallerFault
from hub.cli.chain_common import AsJson, run, show

if TYPE_CHECKING:
    from hub.config import Settings


def sales(as_json: AsJson = False) -> None:
    """Show who bought what from the account here, the latest first."""

    async def work(settings: "Settings") -> None:
        import asyncio

        from hub.chain import keystore, opening, shopkeeping
        from hub.chain.ordering import state_now
        from hub.storage.catalogue import Catalogue

        owner = keystore.address_of(opening.folder_of(settings) / keystore.FILE_NAME)
        if owner is None:
            raise CallerFault("no_key", "There is no key here: digm chain key makes one.")
        state = await state_now(settings)
        with Catalogue.open_for_reading(settings.data) as catalogue:
            tracks = await asyncio.to_thread(catalogue.tracks)
        for row in shopkeeping.sale_rows(state, shopkeeping.sales_of(state, owner, tracks)):
            show({name: value for name, value in row.items() if as_json or value is not None}, as_json)
            if not as_json:
                print(flush=True)

    run(work)
