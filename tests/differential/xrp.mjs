// Answers, for each payment (or cancellation: an AccountSet that sets nothing) on standard input, what xrpl.js makes of it. One JSON array in, one out.
//
// In:  { cancel, networkId, publicKey, destinationId, tag, amount, fee, sequence, ticket, lastLedgerSequence, blob }
// Out: { account, destination, xAddress, signing, signatureIsValid, blob, hash }
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import { join } from "node:path";

const home = process.env.BURSAR_DIFFERENTIAL_DIR ?? import.meta.dirname;
const require = createRequire(join(home, "package.json"));
const xrpl = require("xrpl");
const { deriveAddress } = require("ripple-keypairs");

const answer = (payment) => {
  const account = deriveAddress(payment.publicKey);
  const destination = xrpl.encodeAccountID(Buffer.from(payment.destinationId, "hex"));
  const fields = {
    Account: account,
    Fee: payment.fee,
    Flags: 0,
    Sequence: payment.sequence ?? 0,
    LastLedgerSequence: payment.lastLedgerSequence,
    SigningPubKey: payment.publicKey,
  };
  if (payment.cancel) {
    fields.TransactionType = "AccountSet";
  } else {
    Object.assign(fields, { TransactionType: "Payment", Destination: destination, Amount: payment.amount });
  }
  if (payment.tag !== null && !payment.cancel) fields.DestinationTag = payment.tag;
  if (payment.ticket !== null) fields.TicketSequence = payment.ticket;
  if (payment.networkId > 1024) fields.NetworkID = payment.networkId;

  // The signature is Bursar's; everything around it is made here.
  const { TxnSignature } = xrpl.decode(payment.blob);
  const signing = xrpl.encodeForSigning(fields);
  const blob = xrpl.encode({ ...fields, TxnSignature });
  return {
    account,
    destination,
    xAddress: xrpl.classicAddressToXAddress(destination, payment.tag ?? false, payment.networkId !== 0),
    signing,
    signatureIsValid: xrpl.verifyKeypairSignature(signing, TxnSignature, payment.publicKey),
    blob,
    hash: xrpl.hashes.hashSignedTx(blob),
  };
};

const payments = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(payments.map(answer)));
