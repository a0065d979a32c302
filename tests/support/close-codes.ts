import { CloseCode } from 'graphql-ws';
import { CLOSE } from '../../src/schema/serving/connection.ts';

/** An enum has its names among its values. */
const ofProtocol = Object.values(CloseCode).filter((code) => typeof code === 'number');
/** Clients of graphql-ws close with these. */
const OF_CLIENTS: readonly CloseCode[] = [
  CloseCode.InternalClientError,
  CloseCode.BadResponse,
  CloseCode.ConnectionAcknowledgementTimeout,
];
/** What ws closes with, beyond what the gateway does: a frame that is none, and text that is not UTF-8. */
const OF_FRAMES = [1002, 1007];

/** Every code that the gateway closes a WebSocket with, whether it says so itself or a library does. */
export const CLOSE_CODES: ReadonlySet<number> = new Set([
  ...Object.values(CLOSE).map(({ code }) => code),
  ...ofProtocol.filter((code) => !OF_CLIENTS.includes(code)),
  ...OF_FRAMES,
]);
