/** A real browser, cut off from everything but this machine. */
import { chromium, type Page, type Browser as Program } from 'playwright-core';
import { findProgram } from './programs.ts';

export interface Browser {
  /** Opens a page as somebody who has never been there: nothing is stored, nothing is cached. */
  open(url: string): Promise<VisitedPage>;
  closePages(): Promise<void>;
  close(): Promise<void>;
}

/** A page, and what it has done since it was opened. */
export interface VisitedPage {
  readonly page: Page;
  /** The addresses that it has asked for or opened WebSockets to. */
  readonly requested: readonly string[];
  /** What it has complained of: console errors and warnings, violations of its policy among them, and exceptions. */
  readonly complaints: readonly string[];
}

/** No name leads anywhere, so that what a page needs from elsewhere would be missing. */
const ISOLATED = '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1';
const QUIET = [
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
];

/** Takes a second, and a minute or so where the browser has to be installed first. */
export async function startBrowser(): Promise<Browser> {
  const executablePath = await findProgram('chromium', {
    debianPackage: 'chromium',
    candidates: [
      '/usr/bin/google-chrome',
      '/Applications/Chromium.app/Contents/MacOS/Chromium',
      '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    ],
  });
  const program = await chromium.launch({
    executablePath,
    headless: true,
    // Chromium's sandbox refuses to be started by root.
    chromiumSandbox: process.getuid?.() !== 0,
    args: [ISOLATED, ...QUIET],
  });
  return {
    open: (url) => visit(program, url),
    async closePages() {
      for (const context of program.contexts()) await context.close();
    },
    close: () => program.close(),
  };
}

async function visit(program: Program, url: string): Promise<VisitedPage> {
  const context = await program.newContext();
  const page = await context.newPage();
  const requested: string[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => requested.push(request.url()));
  page.on('websocket', (socket) => requested.push(socket.url()));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(url);
  return { page, requested, complaints };
}
