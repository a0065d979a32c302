/** What has an id of its own in the schema. */
export const NODE_TYPES = ['ApiKey', 'Model', 'Request'] as const;
export type NodeType = (typeof NODE_TYPES)[number];

export interface NodeId {
  readonly type: NodeType;
  /** As the core knows it. */
  readonly id: string;
}

const MAX_LENGTH = 1024;

/** An id that is unique over all types. Clients must not look into it. */
export function encodeNodeId(type: NodeType, id: string): string {
  return encodeOpaque(`${type}:${id}`);
}

/** @returns undefined for whatever is not an id of ours, written exactly as we write it. */
export function decodeNodeId(text: string): NodeId | undefined {
  const plain = decodeOpaque(text);
  if (plain === undefined) return undefined;
  const colon = plain.indexOf(':');
  const type = NODE_TYPES.find((known) => known === plain.slice(0, colon));
  const id = plain.slice(colon + 1);
  return type === undefined || id === '' ? undefined : { type, id };
}

/** @returns the id as the core knows it, or undefined where the text is not the id of such a node. */
export function decodeIdOf(type: NodeType, text: string): string | undefined {
  const node = decodeNodeId(text);
  return node?.type === type ? node.id : undefined;
}

export function encodeOpaque(text: string): string {
  return Buffer.from(text).toString('base64url');
}

/** @returns undefined for what `encodeOpaque` would not have written. */
export function decodeOpaque(text: string): string | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const plain = Buffer.from(text, 'base64url').toString();
  return encodeOpaque(plain) === text ? plain : undefined;
}
