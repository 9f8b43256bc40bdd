// Opens a page in Chromium, shows it images and says what came of it. A job comes in on stdin and
// the answer goes out on stdout, both JSON. Node finds playwright-core through NODE_PATH.
const { chromium } = require("playwright-core");

async function answer(page, show) {
  const told = page.evaluate(() => new Promise((resolve) =>
    document.addEventListener("recognised", ({ detail }) => resolve({
      scores: [...detail.scores], map: detail.map && [...detail.map],
      prepare_ms: detail.prepare_ms, run_ms: detail.run_ms,
    }), { once: true })));
  await show();
  return await told;
}

async function main(job) {
  const browser = await chromium.launch({
    executablePath: job.browser,
    args: ["--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
           "--use-fake-device-for-media-stream", ...(job.flags ?? [])],
  });
  const context = await browser.newContext({ viewport: job.viewport ?? { width: 1200, height: 900 },
                                             colorScheme: job.scheme ?? "light" });
  if (job.cdn) { // what the CDN has, out of a folder of a package manager
    await context.route("https://cdn.jsdelivr.net/npm/**", (route) => {
      const path = new URL(route.request().url()).pathname.replace("/npm/", "/");
      return route.fulfill({ path: job.cdn + path.replace(/@\d[\d.]*\//, "/"),
                             headers: { "access-control-allow-origin": "*" } });
    });
  }
  const page = await context.newPage();
  const out = { console: [], requests: [], answers: [] };
  page.on("console", (message) => out.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => out.console.push(`uncaught: ${error.message}`));
  page.on("request", (request) => out.requests.push(request.url()));
  const begin = Date.now();
  await page.goto(job.url);
  await page.waitForSelector("#file:enabled, #status.wrong", { state: "attached" });
  out.ready_ms = Date.now() - begin;
  for (const image of job.images ?? []) {
    out.answers.push(await answer(page, () => page.setInputFiles("#file", image)));
  }
  if (job.camera) {
    out.answers.push(await answer(page, () => page.click("#camera")));
    await page.waitForTimeout(1000);
    await page.click("#camera");
  }
  if (job.click) await page.click(job.click);
  out.status = await page.textContent("#status");
  out.classes = await page.$$eval("#classes button > span:first-child", (s) => s.map((x) => x.textContent));
  out.bars = await page.$$eval("#classes .share", (s) => s.map((x) => x.textContent));
  out.time = await page.textContent("#time");
  out.scripts = await page.$$eval("script", (scripts) => scripts.length);
  out.map_shown = await page.isVisible("#map");
  out.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (job.screenshot) await page.screenshot({ path: job.screenshot, fullPage: true });
  await browser.close();
  return out;
}

main(JSON.parse(require("fs").readFileSync(0, "utf-8"))).then(
  (out) => console.log(JSON.stringify(out)),
  (error) => { console.error(error); process.exit(1); });
