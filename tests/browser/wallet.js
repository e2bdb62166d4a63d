// A wallet in the page, as an extension puts one there: EIP-6963 and EIP-1193, backed by a chain that signs for its
// accounts. `digmWallet` is the person in front of it: account, chain, what is refused; `asked` is what was shown.
(() => {
  globalThis.digmWallet ??= { account: ACCOUNT, chain: 31337, knows: [31337], refuses: [], asked: [] };
  const listeners = {};
  const fault = (code, message) => Object.assign(new Error(message), { code });
  const provider = {
    on: (type, listener) => { (listeners[type] ??= []).push(listener); },
    async request({ method, params = [] }) {
      const wallet = globalThis.digmWallet;
      wallet.asked.push({ method, params });
      if (wallet.refuses.includes(method)) throw fault(4001, 'User rejected the request.');
      if (method === 'eth_requestAccounts' || method === 'eth_accounts') return [wallet.account];
      if (method === 'eth_chainId') return `0x${wallet.chain.toString(16)}`;
      if (method === 'wallet_switchEthereumChain') {
        const wanted = Number(params[0].chainId);
        if (!wallet.knows.includes(wanted)) throw fault(4902, 'Unrecognized chain ID.');
        wallet.chain = wanted;
        return null;
      }
      const { result, error } = await globalThis.digmChain(method, params);
      if (error) throw fault(error.code, error.message);
      return result;
    },
  };
  const icon = 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="teal"/></svg>';
  const detail = Object.freeze({ info: { uuid: 'c0ffee', name: 'Test wallet', icon, rdns: 'example.wallet' }, provider });
  const announce = () => dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }));
  addEventListener('eip6963:requestProvider', announce);
  announce();
})();
