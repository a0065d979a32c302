import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Browser, startBrowser } from '../support/browser.ts';
import { eventually } from '../support/eventually.ts';
import { type Header, startMeddler } from '../support/meddler.ts';
import { type Stack, startStack } from '../support/stack.ts';

const FILE = join(import.meta.dirname, '../../test-browser-cors.html');
const LINES = 11;
const GREEN = 'rgb(18, 105, 44)';
const RED = 'rgb(179, 20, 29)';

let browser: Browser;
let stack: Stack;
let key: string;
beforeAll(async () => {
  browser = await startBrowser();
  stack = await startStack({
    replicas: 1,
    simulators: [{ parallel: 100, paceMs: 5, script: { tokens: 200 } }],
  });
  key = (await stack.createKey({ limits: { requestsPerMinute: 1000 } })).secret;
}, 300_000);
afterAll(async () => {
  await stack?.close();
  await browser?.close();
});
afterEach(() => browser.closePages());

/** The page, found by what it says, as people who do not see it find it. */
async function openPage(url: string) {
  const visit = await browser.open(url);
  const { page } = visit;
  const results = page.getByRole('list', { name: 'Results' }).getByRole('listitem');
  const summary = page.getByRole('status');
  return {
    ...visit,
    address: page.getByLabel('Address of the gateway'),
    key: page.getByLabel('API key'),
    stop: page.getByRole('button', { name: 'Stop' }),
    answer: page.locator('#answer'),
    summary,
    /** The lines that begin with a word such as `Failed`, each as its text. */
    lines: async (state: string) =>
      (await results.allInnerTexts()).filter((line) => line.startsWith(`${state}:`)),
    async run(secret = key) {
      await page.getByLabel('API key').fill(secret);
      await page.getByLabel('API key').press('Enter');
      await summary.filter({ hasText: 'passed' }).waitFor();
      return await summary.textContent();
    },
  };
}

const byOtherName = () => stack.url.replace('127.0.0.1', 'localhost');

describe('/cors-test', () => {
  test('tests the same server by its other name, which is another origin, with nothing but the keyboard', async () => {
    const opened = await openPage(`${stack.url}/cors-test`);
    const { page, address, requested, complaints } = opened;
    expect(await address.inputValue()).toBe(byOtherName());
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.type(key);
    await page.keyboard.press('Enter');
    await opened.summary.filter({ hasText: 'passed' }).waitFor();

    expect(await opened.lines('Failed')).toEqual([]);
    expect(await opened.lines('Passed')).toHaveLength(LINES);
    expect(await opened.summary.textContent()).toBe(`${LINES} passed, 0 failed, 0 skipped.`);
    const hosts = new Set(requested.map((url) => new URL(url).host));
    expect([...hosts]).toEqual([new URL(stack.url).host, new URL(byOtherName()).host]);
    // The browser reports the failures that the page asks for, and nothing besides: no breach of its policy above all.
    expect(complaints.filter((complaint) => !/status of 40[014]/.test(complaint))).toEqual([]);
  });

  test('shows the answer while it comes', async () => {
    const opened = await openPage(`${stack.url}/cors-test`);
    const seen = new Set<number>();
    const done = opened.run();
    await eventually('an answer that grows', async () => {
      seen.add((await opened.answer.textContent())?.length ?? 0);
      return seen.size > 3;
    });
    await done;
  });

  test('keeps the key in memory alone', async () => {
    const opened = await openPage(`${stack.url}/cors-test`);
    await opened.run();
    expect(opened.page.url()).toBe(`${stack.url}/cors-test`);
    expect(opened.requested.filter((url) => url.includes(key))).toEqual([]);
    const stored = 'JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])';
    expect(await opened.page.evaluate(stored)).toBe('[{},{},""]');
    await opened.page.reload();
    expect(await opened.key.inputValue()).toBe('');
  });

  test('runs nothing that was put into it', async () => {
    const { page, complaints } = await openPage(`${stack.url}/cors-test`);
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { text: 'window.ran = 1' }))`,
    );
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(complaints).toContainEqual(expect.stringContaining('Content Security Policy'));
  });

  test('says so where it is of the same origin, and skips what that leaves nothing of', async () => {
    const opened = await openPage(`${stack.url}/cors-test`);
    await opened.address.fill(stack.url);
    expect(await opened.page.getByText('The origin of this page itself').isVisible()).toBe(true);
    expect(await opened.run()).toBe(`${LINES - 1} passed, 0 failed, 1 skipped.`);
    expect(await opened.lines('Skipped')).toEqual([expect.stringContaining('Preflight')]);
  });

  test('can be stopped, which stops the model', async () => {
    const [simulator] = stack.simulators;
    simulator?.script({ tokens: 20, neverEnding: true });
    const opened = await openPage(`${stack.url}/cors-test`);
    await opened.key.fill(key);
    await opened.key.press('Enter');
    await simulator?.until(({ inFlight }) => inFlight > 0);
    await opened.stop.click();
    await opened.summary.filter({ hasText: 'skipped' }).waitFor();
    expect((await opened.lines('Skipped')).length).toBeGreaterThan(5);
    expect(await opened.lines('Failed')).toEqual([]);
    await simulator?.until(({ inFlight }) => inFlight === 0);
  });
});

describe('test-browser-cors.html', () => {
  test('is that very page', async () => {
    const served = await fetch(`${stack.url}/cors-test`);
    expect(await served.text()).toBe(readFileSync(FILE, 'utf8'));
  });

  test('opened from a file, tests from the origin null', async () => {
    const opened = await openPage(pathToFileURL(FILE).href);
    await opened.address.fill(stack.url);
    expect(await opened.page.getByText('which is null').isVisible()).toBe(true);
    const summary = await opened.run();
    expect(await opened.lines('Failed')).toEqual([]);
    expect(summary).toBe(`${LINES} passed, 0 failed, 0 skipped.`);
  });

  test('has red lines for a key that is not accepted, and green ones for what needs none', async () => {
    const opened = await openPage(pathToFileURL(FILE).href);
    await opened.address.fill(stack.url);
    await opened.run('llmgw_thiskeyisnobodys000000000000000');
    expect(await opened.lines('Passed')).toEqual([
      expect.stringContaining('A request without a key'),
      expect.stringContaining('Preflight'),
    ]);
    expect((await opened.lines('Failed'))[0]).toContain('401: The API key is not valid.');
    const colourOf = (state: string) =>
      opened.page.evaluate(`getComputedStyle(document.querySelector('li.${state}')).borderLeftColor`);
    expect([await colourOf('passed'), await colourOf('failed')]).toEqual([GREEN, RED]);
  });

  test('tells a CORS header that comes twice from a server that is away', async () => {
    const twice = (headers: readonly Header[]) =>
      headers.flatMap((header) =>
        /^access-control-allow-origin$/i.test(header[0]) ? [header, header] : [header],
      );
    const meddler = await startMeddler(stack.url, () => ({ headers: twice }));
    try {
      const opened = await openPage(pathToFileURL(FILE).href);
      await opened.address.fill(meddler.url);
      await opened.page.getByLabel('Model').fill('llama3.1:8b');
      await opened.run();
      const failed = await opened.lines('Failed');
      expect(failed[0]).toContain('the browser keeps the answer from this page');
      // A WebSocket knows no CORS, so that it alone works.
      expect(await opened.lines('Passed')).toEqual([expect.stringContaining('WebSocket')]);
    } finally {
      await meddler.close();
    }
    const opened = await openPage(pathToFileURL(FILE).href);
    await opened.address.fill(meddler.url);
    await opened.run();
    expect((await opened.lines('Failed'))[0]).toContain(`Nothing answers at ${meddler.url}`);
  });
});
