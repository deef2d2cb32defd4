// Holds the Ethereum adapter against ethers. Reads one JSON list of cases from standard input, writes one of answers.
//
// case:   { privateKey, chainId, nonce, gasLimit, maxFeePerGas, maxPriorityFeePerGas, token|null, payee, amount }
//         (integers as decimal strings, bytes as 0x hex)
// answer: { address, unsigned, digest, signed, hash }

import { readFileSync } from "node:fs";
import { Interface, Transaction, Wallet, getAddress } from "ethers";

const erc20 = new Interface(["function transfer(address to, uint256 value) returns (bool)"]);

function answer(input) {
  const wallet = new Wallet(input.privateKey);
  const payee = getAddress(input.payee);
  const transaction = Transaction.from({
    type: 2,
    chainId: BigInt(input.chainId),
    nonce: Number(input.nonce),
    gasLimit: BigInt(input.gasLimit),
    maxFeePerGas: BigInt(input.maxFeePerGas),
    maxPriorityFeePerGas: BigInt(input.maxPriorityFeePerGas),
    to: input.token ?? payee,
    value: input.token ? 0n : BigInt(input.amount),
    data: input.token ? erc20.encodeFunctionData("transfer", [payee, BigInt(input.amount)]) : "0x",
  });
  const unsigned = transaction.unsignedSerialized;
  const digest = transaction.unsignedHash;
  transaction.signature = wallet.signingKey.sign(digest);
  return { address: wallet.address, unsigned, digest, signed: transaction.serialized, hash: transaction.hash };
}

const cases = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(cases.map(answer)));
