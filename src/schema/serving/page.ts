import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { PAGE_POLICY, renderPage } from './graphiql.ts';
import { type Encoding, preferredEncoding } from './negotiate.ts';

interface Rendition {
  readonly body: Buffer;
  readonly etag: string;
}

/** Levels that a person who waits for the page does not notice; the best ones take ten seconds and more. */
const COMPRESSORS: Readonly<Record<Encoding, (page: Buffer) => Promise<Buffer>>> = {
  br: (page) => promisify(brotliCompress)(page, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }),
  gzip: (page) => promisify(gzip)(page, { level: 5 }),
  identity: async (page) => page,
};

/**
 * Answers with GraphiQL. It is made when it is first asked for, once for each encoding, and then kept.
 * @param key shown in the page; only for keys that are public anyway.
 */
export function createPage(endpoint: string, key: string | undefined) {
  const renditions = new Map<Encoding, Promise<Rendition>>();

  const render = async (encoding: Encoding): Promise<Rendition> => {
    const page = Buffer.from(await renderPage(endpoint, key));
    const hash = createHash('sha256').update(page).digest('base64url').slice(0, 22);
    return { body: await COMPRESSORS[encoding](page), etag: `"${hash}-${encoding}"` };
  };

  return async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const encoding = preferredEncoding(req.headers['accept-encoding']);
    const rendition = renditions.get(encoding) ?? render(encoding);
    renditions.set(encoding, rendition);
    const { body, etag } = await rendition;
    res.appendHeader('vary', 'Accept-Encoding');
    // A browser keeps the page and asks whether it is still the same, so that an upgrade shows at once.
    res.setHeader('cache-control', 'private, no-cache');
    res.setHeader('etag', etag);
    res.setHeader('content-security-policy', PAGE_POLICY);
    if (req.headers['if-none-match'] === etag) {
      res.statusCode = 304;
      return void res.end();
    }
    res.setHeader('content-type', 'text/html; charset=utf-8');
    if (encoding !== 'identity') res.setHeader('content-encoding', encoding);
    res.setHeader('content-length', body.length);
    res.end(body);
  };
}
