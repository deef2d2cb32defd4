// Holds the Bitcoin adapter against bitcoinjs-lib: one JSON object per line in, one per line out.
//
// { "op": "transaction", network, signed, unsigned, prevouts: [{script, value}] }
//   → { txid, unsignedTxid, digests: [hex], addresses: [text or null], signed: hex }
// { "op": "psbt", psbt } → { unsigned, prevouts: [{script, value}], txid }
// { "op": "derive", network, kind, publicKey } → { address }
// { "op": "parse", network, address } → { script } or { error }

import * as bitcoin from 'bitcoinjs-lib';
import * as ecc from '@bitcoinerlab/secp256k1';
import { createInterface } from 'node:readline';

bitcoin.initEccLib(ecc);

// bitcoinjs-lib reports future witness versions on the console.
console.warn = () => {};

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'));
const networks = {
  mainnet: bitcoin.networks.bitcoin,
  testnet4: bitcoin.networks.testnet,
  signet: bitcoin.networks.testnet,
  regtest: bitcoin.networks.regtest,
};

function digest(transaction, index, scripts, values) {
  const script = scripts[index];
  if (script.length === 34 && script[0] === 0x51) {
    return transaction.hashForWitnessV1(index, scripts, values, bitcoin.Transaction.SIGHASH_DEFAULT);
  }
  const scriptCode = bitcoin.payments.p2pkh({ hash: script.slice(2) }).output;
  return transaction.hashForWitnessV0(index, scriptCode, values[index], bitcoin.Transaction.SIGHASH_ALL);
}

const operations = {
  transaction({ network, signed, unsigned, prevouts }) {
    const complete = bitcoin.Transaction.fromHex(signed);
    const bare = bitcoin.Transaction.fromHex(unsigned);
    const scripts = prevouts.map((output) => bytes(output.script));
    const values = prevouts.map((output) => BigInt(output.value));
    return {
      txid: complete.getId(),
      unsignedTxid: bare.getId(),
      virtualSize: complete.virtualSize(),
      digests: bare.ins.map((_, index) => hex(digest(bare, index, scripts, values))),
      addresses: bare.outs.map((output) => bitcoin.address.fromOutputScript(output.script, networks[network])),
      signed: complete.toHex(),
    };
  },
  psbt({ psbt }) {
    const parsed = bitcoin.Psbt.fromHex(psbt);
    const bare = parsed.data.globalMap.unsignedTx.toBuffer();
    return {
      unsigned: hex(bare),
      prevouts: parsed.data.inputs.map(({ witnessUtxo }) => ({
        script: hex(witnessUtxo.script),
        value: witnessUtxo.value.toString(),
      })),
    };
  },
  derive({ network, kind, publicKey }) {
    const key = bytes(publicKey);
    const payment =
      kind === 'p2tr'
        ? bitcoin.payments.p2tr({ internalPubkey: key.slice(1), network: networks[network] })
        : bitcoin.payments.p2wpkh({ pubkey: key, network: networks[network] });
    return { address: payment.address };
  },
  parse({ network, address }) {
    try {
      return { script: hex(bitcoin.address.toOutputScript(address, networks[network])) };
    } catch (error) {
      return { error: String(error.message) };
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(operations[request.op](request))}\n`);
}
