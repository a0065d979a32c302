import type { VisitedPage } from '../support/browser.ts';

/** Calls a function of `foreign-page.js` in a page of the foreign server. */
export function callPage<Result>(
  { page }: VisitedPage,
  name: string,
  given: { readonly gateway: string; readonly key: string; readonly body: object },
): Promise<Result> {
  return page.evaluate(`import('/page.js').then((module) => module.${name}(${JSON.stringify(given)}))`);
}

/** A request and its answer, as they passed between the browser and the server. */
export interface Exchange {
  readonly url: string;
  readonly method: string;
  readonly status: number;
  /** Each `Access-Control-Allow-Origin` of the answer. */
  readonly allowed: readonly string[];
  /** Every CORS header of the answer by its name in lower case, with a value for each time that it came. */
  readonly cors: Readonly<Record<string, readonly string[]>>;
}

/** What a page exchanges with a server from now on, preflights included. */
export async function listenIn({ page }: VisitedPage, url: string): Promise<readonly Exchange[]> {
  const session = await page.context().newCDPSession(page);
  const requests = new Map<string, { readonly url: string; readonly method: string }>();
  const exchanges: Exchange[] = [];
  session.on('Network.requestWillBeSent', ({ requestId, request }) => requests.set(requestId, request));
  session.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode, headers }) => {
    const request = requests.get(requestId);
    if (!request?.url.startsWith(url)) return;
    const cors: Record<string, readonly string[]> = {};
    for (const [name, value] of Object.entries(headers)) {
      // The browser shows a header that comes twice with a line for each.
      if (/^access-control-/i.test(name)) cors[name.toLowerCase()] = value.split('\n');
    }
    const allowed = cors['access-control-allow-origin'] ?? [];
    exchanges.push({ url: request.url, method: request.method, status: statusCode, allowed, cors });
  });
  await session.send('Network.enable');
  return exchanges;
}
