// The report in headless Chromium, as a person meets it: no console error, values on hover, keys and touch, no sideways scroll,
// light and dark. Needs a Chromium: DUO_CHROMIUM, or /usr/bin/chromium; without one it is skipped by name and counted.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countKvBytes } from '../../src/core/kv-cost.ts';
import { buildReport } from '../../src/report/report.ts';
import { readRunFolder } from '../../src/report/run-data.ts';
import { writeRunFixture } from '../src/report/run-fixture.ts';

const CHROMIUM = process.env.DUO_CHROMIUM ?? '/usr/bin/chromium';
const TIMEOUT_MS = 60_000;

describe.skipIf(!existsSync(CHROMIUM))(`report in ${CHROMIUM}`, { timeout: TIMEOUT_MS }, () => {
  let browser: Browser;
  let address: string;

  beforeAll(async () => {
    const folder = writeRunFixture({ layers: 6, kvHeads: 8, steps: 120 });
    const file = join(folder, 'report.html');
    writeFileSync(file, buildReport(readRunFolder(folder), { countKvBytes }).html);
    address = pathToFileURL(file).href;
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  }, TIMEOUT_MS);
  afterAll(() => browser?.close());

  /** Open the report; problems are console errors, exceptions and requests other than the page. */
  async function open(options: {
    width: number;
    dark?: boolean;
    touch?: boolean;
  }): Promise<{ page: Page; problems: string[] }> {
    const page = await browser.newPage({
      viewport: { width: options.width, height: 900 },
      colorScheme: options.dark ? 'dark' : 'light',
      hasTouch: options.touch ?? false,
    });
    const problems: string[] = [];
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && problems.push(message.text()));
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('request', (request) => {
      if (request.url() !== address && !request.url().startsWith('data:')) problems.push(request.url());
    });
    await page.goto(address);
    return { page, problems };
  }

  it.each([390, 768, 1280])('has no sideways scroll and no error at %i px', async (width) => {
    const { page, problems } = await open({ width });
    const widths = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
    expect(await page.evaluate(widths)).toBe(0);
    const figures = await page.locator('svg:visible').count();
    expect(figures).toBe(await page.locator('figure').count());
    const isInside = await page.evaluate(
      "[...document.querySelectorAll('figure')].every((one) => [...one.querySelectorAll('svg, svg text')].every((part) => part.getBoundingClientRect().right <= one.getBoundingClientRect().right))",
    );
    expect(isInside).toBe(true);
    // dot and digits of a marked head fit its cell, or the dot stands alone
    const [cell, text] = (await page.evaluate(`(() => {
      const svg = [...document.querySelectorAll('#figure-gate-map svg')].find((one) => one.getBoundingClientRect().width > 0);
      const widths = (kind) => [...svg.querySelectorAll(kind)].map((one) => one.getBoundingClientRect().width);
      return [Math.min(...widths('rect[aria-label]')), Math.max(0, ...widths('g[aria-label=text] text'))];
    })()`)) as [number, number];
    expect(text).toBeLessThanOrEqual(cell);
    expect(text > 0).toBe(width !== 390);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('shows a value on hover, and hides it elsewhere', async () => {
    const { page, problems } = await open({ width: 1280 });
    const cell = page.locator('#figure-gate-map svg:visible .tips > *').nth(13);
    await cell.hover();
    expect(await page.locator('#tip').textContent()).toMatch(
      /^layer 1, KV head 5: gate \d\.\d{3}, (retrieval|streaming)$/,
    );
    expect(await page.locator('#tip').isVisible()).toBe(true);
    await page.locator('h1').hover();
    expect(await page.locator('#tip').isVisible()).toBe(false);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('reads values by arrow keys, aloud for screen readers', async () => {
    const { page } = await open({ width: 1280 });
    await page.locator('#figure-gate-map svg:visible').focus();
    for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
    expect(await page.locator('#voice').textContent()).toMatch(/^layer 1, KV head 1: gate/);
    await page.keyboard.press('Escape');
    expect(await page.locator('#tip').isVisible()).toBe(false);
    await page.close();
  });

  it('shows a value on touch, on a phone', async () => {
    const { page, problems } = await open({ width: 390, touch: true });
    await page.locator('#figure-kv-memory svg:visible .tips > *').nth(3).tap();
    expect(await page.locator('#tip').textContent()).toMatch(/^32K tokens: full .* saved$/);
    const box = await page.locator('#tip').boundingBox();
    expect(box && box.x >= 0 && box.x + box.width <= 390).toBe(true);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('follows the reader to dark, and prints dark ink on white', async () => {
    const ground = 'getComputedStyle(document.body).backgroundColor';
    const ink = 'getComputedStyle(document.body).color';
    const { page: light } = await open({ width: 1280 });
    const { page: dark } = await open({ width: 1280, dark: true });
    expect([await light.evaluate(ground), await light.evaluate(ink)]).toEqual([
      'rgb(246, 247, 249)',
      'rgb(22, 32, 44)',
    ]);
    expect([await dark.evaluate(ground), await dark.evaluate(ink)]).toEqual(['rgb(15, 20, 26)', 'rgb(232, 237, 243)']);
    await dark.emulateMedia({ media: 'print' });
    expect(await dark.evaluate(ink)).toBe('rgb(22, 32, 44)');
    await light.close();
    await dark.close();
  });
});
