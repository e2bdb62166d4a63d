"""All that needs eth-account and eth-abi, in one place to be imported late, in a thread."""

from hub.chain.opening import folder_of
from hub.keeping.account import open_account
from hub.keeping.acquiring import Acquirer
from hub.keeping.contract_view import ContractView
from hub.keeping.deeds import Deeds
from hub.keeping.proofs import AuditTrees

__all__ = ["Acquirer", "AuditTrees", "ContractView", "Deeds", "folder_of", "open_account"]
