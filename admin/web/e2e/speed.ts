import type { Page } from '@playwright/test';

/**
 * firstPaint is when a page that was loaded showed something, in ms. The browser tells of it
 * some frames later; what is visible is not yet told of.
 */
export function firstPaint(page: Page): Promise<number> {
  return page.evaluate(
    () =>
      new Promise<number>((told) => {
        new PerformanceObserver((list) => {
          for (const entry of list.getEntriesByName('first-contentful-paint')) told(entry.startTime);
        }).observe({ type: 'paint', buffered: true });
      }),
  );
}

/** Measure presses something a few times and gives what it took of the page's own thread, in ms. */
export type Measure = (press: () => Promise<void>, back: () => Promise<void>) => Promise<number>;

/**
 * presses counts processor time of the page's own thread: the machine has other work, which
 * the clock on the wall would count.
 */
export async function presses(page: Page): Promise<Measure> {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => (await cdp.send('Performance.getMetrics')).metrics.find((m) => m.name === 'TaskDuration')?.value ?? NaN;
  // The best of a few: the first time, a page is compiled.
  return async (press, back) => {
    const rounds: number[] = [];
    for (let i = 0; i < 4; i++) {
      const before = await spent();
      await press();
      await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
      rounds.push(Math.round(1000 * ((await spent()) - before)));
      await back();
    }
    return Math.min(...rounds);
  };
}
