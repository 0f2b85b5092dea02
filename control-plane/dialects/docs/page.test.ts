import { chromium } from 'playwright-core'
import { findTool } from '../../../deploy/tools.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'

/** What a browser does of its own accord must not be taken for the page's doing. */
const QUIET = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-domain-reliability',
  '--disable-sync',
  '--no-first-run',
  '--no-pings',
]

/** Runs in the page, before it: what a policy forbids is told there. */
const TELL_VIOLATIONS = `document.addEventListener('securitypolicyviolation', (event) =>
  console.error('violation: ' + event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample))`

const testInBrowser = testUnless(lacksTool('chromium'))

testInBrowser('the page shows every operation, breaks no rule of its policy and asks nobody else', async (t) => {
  const { url, dialects } = await startListener(t)
  const browser = await chromium.launch({ executablePath: findTool('chromium') ?? '', args: QUIET })
  t.teardown(() => browser.close())
  // As tall as all of it: of so many operations the page holds those that are in sight.
  const page = await browser.newPage({ viewport: { width: 1200, height: 30_000 } })
  const complaints: string[] = []
  const foreign: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure()?.errorText}`))
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url())
    if (protocol !== 'data:' && host !== new URL(url).host) foreign.push(request.url())
  })
  await page.addInitScript({ content: TELL_VIOLATIONS })

  await page.goto(`${url}/api-docs`)
  await page.waitForSelector('.opblock')
  const served = dialects.flatMap(({ routes }) => routes.filter(({ kind }) => kind === 'route' || kind === 'raw'))
  t.is(await page.locator('.opblock').count(), served.length)

  // One operation opened, with its parameters, examples and schemas.
  const create = page.locator('.opblock-post', { hasText: 'Create a dataset' })
  await create.locator('.opblock-summary').click()
  await create.getByText('Idempotency-Key').first().waitFor()
  await create.getByRole('button', { name: 'Try it out' }).click()
  const screenshot = process.env.HOLDFAST_SCREENSHOT
  if (screenshot !== undefined) await page.screenshot({ path: screenshot })
  t.deepEqual(complaints, [])
  t.deepEqual(foreign, [])
})
