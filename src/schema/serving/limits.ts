/** What one document may ask for. Counted with its fragments expanded, before it is validated. */
export interface DocumentLimits {
  readonly bytes: number;
  readonly tokens: number;
  /** Selections within selections. The introspection query that tools send needs 15. */
  readonly depth: number;
  /** Fields in all. Validation compares fields in pairs, so this also bounds the time it takes. */
  readonly fields: number;
  readonly rootFields: number;
  readonly aliases: number;
  readonly directives: number;
  /** Fields that execution may have to resolve, where those below a page count once per entry. */
  readonly complexity: number;
}

/** What one WebSocket, and all of one key or address, may take. Times are in milliseconds. */
export interface SocketLimits {
  /** Until `connection_init`. */
  readonly initTimeoutMs: number;
  /** How much may come in before the key is known. */
  readonly bytesBeforeInit: number;
  readonly operations: number;
  readonly perKey: number;
  readonly perAddress: number;
  readonly messagesPerSecond: number;
  readonly messageBurst: number;
  /** A socket that has not answered one ping when the next is due is gone. */
  readonly pingMs: number;
  /** How long a client may leave a message unread. */
  readonly stallMs: number;
  /** How long a client may take to answer a close. */
  readonly closeMs: number;
}

export interface ServingLimits {
  readonly document: DocumentLimits;
  readonly socket: SocketLimits;
  /** How long the reader of an event stream may leave it unread. */
  readonly stallMs: number;
}

export const DEFAULT_LIMITS: ServingLimits = {
  document: {
    bytes: 64 * 1024,
    tokens: 2000,
    depth: 16,
    fields: 500,
    rootFields: 20,
    aliases: 50,
    directives: 50,
    complexity: 10_000,
  },
  socket: {
    initTimeoutMs: 3000,
    bytesBeforeInit: 64 * 1024,
    operations: 100,
    perKey: 1000,
    perAddress: 200,
    messagesPerSecond: 100,
    messageBurst: 250,
    pingMs: 12_000,
    stallMs: 30_000,
    closeMs: 5000,
  },
  stallMs: 30_000,
};
