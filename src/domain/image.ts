import type { ImagePart } from './chat.ts';

const HEAD = /^data:(image\/[a-z0-9.+-]{1,64})(?:;[a-z0-9=._-]{1,64}){0,4};base64,/i;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** The image in a `data:` URI with base64, or undefined for anything else. */
export function parseDataUri(uri: string): ImagePart | undefined {
  const head = HEAD.exec(uri);
  const base64 = head ? uri.slice(head[0].length) : '';
  if (!head?.[1] || !BASE64.test(base64)) return undefined;
  return { type: 'image', base64, mediaType: head[1].toLowerCase() };
}
