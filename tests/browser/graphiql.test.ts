import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Browser, startBrowser, type VisitedPage } from '../support/browser.ts';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { TEST_KEY } from '../support/gateway.ts';
import { type ForeignServer, startForeignServer } from './foreign-server.ts';
import { callPage, listenIn } from './foreign-visit.ts';

let browser: Browser;
let server: Deployment;
let foreign: ForeignServer;
beforeAll(async () => {
  browser = await startBrowser();
  foreign = await startForeignServer();
  server = await startDeployment({
    env: { CORS_ORIGINS: foreign.origin },
    simulator: { script: { tokens: 30 }, paceMs: 30 },
  });
}, 300_000);
afterAll(async () => {
  await server?.close();
  await foreign?.close();
  await browser?.close();
});

afterEach(() => browser.closePages());

const INPUT = {
  model: 'llama3.1:8b',
  messages: [{ role: 'USER', content: [{ text: 'Why is the sky blue?' }] }],
};

/** GraphiQL, ready to execute. */
async function openGraphiQL() {
  const visit = await browser.open(`${server.url}/graphql`);
  const { page } = visit;
  const button = page.locator('.graphiql-execute-button');
  const pane = page.locator('.graphiql-response .view-line');
  const editor = page.locator('.graphiql-query-editor .view-line');
  await button.waitFor();
  return {
    ...visit,
    /** Executes, or stops what is being executed. */
    press: () => button.click(),
    /** @returns when the editor shows the tab's operation: executed earlier, it would be the tab before. */
    async selectTab(name: string) {
      // By the keyboard, because a mouse may start to drag the tab.
      await page.getByRole('button', { name, exact: true }).press('Enter');
      await eventually(`${name} in the editor`, async () =>
        (await editor.allTextContents()).join().includes(name),
      );
    },
    /** What the result pane shows; the editor writes its blanks as no-break spaces. */
    shown: async () => (await pane.allTextContents()).join('\n').replaceAll('\u00a0', ' '),
  };
}

/** Everything that the pane shows on the way to what is awaited. */
async function watch(shown: () => Promise<string>, awaited: string): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  await eventually(`${awaited} in the result pane`, async () => {
    const text = await shown();
    seen.add(text);
    return text.includes(awaited);
  });
  return seen;
}

/** Nothing was asked of anybody but the gateway, and nothing was complained of. */
function expectAtPeace({ requested, complaints }: VisitedPage): void {
  const { host } = new URL(server.url);
  const strangers = requested.filter((url) => new URL(url.replace(/^blob:/, '')).host !== host);
  expect({ strangers, complaints }).toEqual({ strangers: [], complaints: [] });
}

describe('GraphiQL in a browser', () => {
  test('streams answers into its result pane, stops them with the model, and loads nothing from elsewhere', async () => {
    server.simulator.script({ tokens: 20, neverEnding: true });
    const graphiql = await openGraphiQL();
    await graphiql.press();
    const deltas = new Set<string>();
    await eventually('several deltas in the result pane', async () => {
      const text = await graphiql.shown();
      if (text.includes('ChatContentDelta')) deltas.add(text);
      return deltas.size > 2;
    });
    expect(server.simulator.stats().inFlight).toBe(1);
    await graphiql.press();
    await server.simulator.until(({ inFlight }) => inFlight === 0);

    await graphiql.press();
    await watch(graphiql.shown, 'ChatFinished');
    expectAtPeace(graphiql);
  });

  test('has examples that run as they are', async () => {
    // Answers of its own, as one of the examples wants JSON.
    server.simulator.setDefault({});
    const graphiql = await openGraphiQL();
    for (const [name, expected] of [
      ['Answer', '"__typename": "ChatCompletion"'],
      ['Tools', '"__typename": "ChatCompletion"'],
      ['StructuredOutput', '"__typename": "ChatCompletion"'],
      ['Embeddings', '"__typename": "Embeddings"'],
      ['Viewer', '"name": "Demo: default"'],
      ['Models', '"isLoaded": '],
      ['Requests', '"requestId": '],
      ['Usage', '"usage": ['],
    ] as const) {
      await graphiql.selectTab(name);
      await graphiql.press();
      const shown = await eventually(`${expected} in the result pane`, async () => {
        const text = await graphiql.shown();
        // The editor takes a moment to notice which operation it holds now; whoever is faster presses again.
        if (text.includes('Cannot infer operation')) await graphiql.press();
        return text.includes(expected) && text;
      });
      expect(shown).not.toContain('"errors": [');
    }
    expectAtPeace(graphiql);
  });

  test('is still there after a reload, with what was being edited', async () => {
    const graphiql = await openGraphiQL();
    await graphiql.selectTab('Viewer');
    await graphiql.page.waitForURL(/query=.*Viewer/);
    await graphiql.page.reload();
    await graphiql.press();
    await watch(graphiql.shown, '"name": "Demo: default"');
    expectAtPeace(graphiql);
  });

  test('may reach nobody but the gateway', async () => {
    const { page, complaints } = await openGraphiQL();
    const before = foreign.requested.length;
    await expect(page.evaluate(`fetch('${foreign.origin}/secrets')`)).rejects.toThrow('Failed to fetch');
    expect(complaints).toContainEqual(expect.stringContaining('Content Security Policy'));
    expect(foreign.requested.length).toBe(before);
  });
});

/** Calls a function of `foreign-page.js` in the page. */
function call<Result>(visit: VisitedPage, name: string, body: object): Promise<Result> {
  return callPage(visit, name, { gateway: server.url, key: TEST_KEY, body });
}

const SUBSCRIPTION = {
  query:
    'subscription($input: ChatCompletionInput!) { chatCompletion(input: $input) { __typename sequence } }',
  variables: { input: INPUT },
};

describe('a page of another origin', () => {
  test('streams a completion, queries and subscribes, where its origin is allowed', async () => {
    const visit = await browser.open(foreign.origin);
    const exchanges = await listenIn(visit, server.url);

    const chat = await call<{ status: number; requestId: string | null; chunks: string[] }>(
      visit,
      'streamChat',
      { model: INPUT.model, stream: true, messages: [{ role: 'user', content: 'Why is the sky blue?' }] },
    );
    expect(chat).toMatchObject({ status: 200, requestId: expect.stringMatching(/./) });
    expect(chat.chunks.length).toBeGreaterThan(1);
    expect(chat.chunks.join('')).toMatch(/data: \[DONE\]\n\n$/);

    const query = { query: '{ viewer { name } }' };
    expect(await call(visit, 'query', query)).toMatchObject({
      status: 200,
      requestId: expect.stringMatching(/./),
      body: { data: { viewer: { name: 'Demo: default' } } },
    });

    const results = await call<{ data: { chatCompletion: object } }[]>(visit, 'subscribe', SUBSCRIPTION);
    const events = results.map(({ data }) => data.chatCompletion);
    expect(events.length).toBeGreaterThan(2);
    expect(events.at(-1)).toMatchObject({ __typename: 'ChatFinished' });

    const allowed = [foreign.origin];
    expect(exchanges).toHaveLength(4);
    for (const path of ['/v1/chat/completions', '/graphql']) {
      for (const method of ['OPTIONS', 'POST']) {
        const exchange = { url: server.url + path, method, allowed };
        expect(exchanges).toContainEqual(expect.objectContaining(exchange));
      }
    }
    expect(visit.complaints).toEqual([]);
  });

  test('gets nothing where its origin is not allowed', async () => {
    const visit = await browser.open(foreign.otherOrigin);
    const rows = await server.rows();
    for (const name of ['streamChat', 'query']) {
      await expect(call(visit, name, { query: '{ viewer { name } }' })).rejects.toThrow('Failed to fetch');
    }
    await expect(call(visit, 'subscribe', SUBSCRIPTION)).rejects.toThrow();
    expect(await server.rows()).toBe(rows);
  });
});
