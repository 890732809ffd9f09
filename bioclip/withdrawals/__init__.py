"""Withdrawal: images that are removed from the workspace and from every later release, whichever archive they are in.

The drop reason `taken_down`, the setting `ingest.takedown` and the file `takedown.txt` are data that users and releases have, and keep
their spelling.
"""

from bioclip.withdrawals.lists import WITHDRAWN, Withdrawals, append_withdrawals, kind_of, normal, read_withdrawal_list, read_withdrawals

__all__ = ["WITHDRAWN", "Withdrawals", "append_withdrawals", "kind_of", "normal", "read_withdrawal_list", "read_withdrawals"]
