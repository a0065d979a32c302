import { hostname } from 'node:os';

const LOCAL_ORIGIN = /^https?:\/\/(localhost|127\.0\.0\.1|0\.0\.0\.0)(:\d+)?$/;
const APP_ORIGIN = /^(app|file|tauri|vscode-[a-z-]+):\/\//;
const PRIVATE_ADDRESS =
  /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|0\.0\.0\.0$|::1$|f[cd][0-9a-f]{2}:)/;

/** Whether the server talks to a page of this origin. Undefined: not a browser. */
export function isOriginAllowed(origin: string | undefined, host: string | undefined): boolean {
  if (origin === undefined || origin === `http://${host}`) return true;
  return LOCAL_ORIGIN.test(origin) || APP_ORIGIN.test(origin);
}

/** Whether a server on a loopback address answers to this name, which keeps rebound DNS names out. */
export function isHostAllowed(host: string | undefined): boolean {
  if (host === undefined || host === '') return true;
  const name = host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  if (name === 'localhost' || name === hostname().toLowerCase()) return true;
  return /\.(localhost|local|internal)$/.test(name) || PRIVATE_ADDRESS.test(name);
}
