import { Validator } from '@seriousme/openapi-schema-validator'
import test from 'ava'
import { createAnswerChecker, servedDialects, servedDocument } from '../../../test/harness/document.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { prefersHtml } from './prefers-html.ts'

const FOR_BROWSERS = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8'

test('the document is OpenAPI 3.1, by its own schema', async (t) => {
  const { ask } = await startListener(t)
  const { status, json } = await ask('GET', '/api-docs', { as: null })
  t.is(status, 200)
  t.regex(json.openapi, /^3\.1\./)
  const { valid, errors } = await new Validator().validate(json)
  t.true(valid, JSON.stringify(errors))
})

test('it has every operation of every dialect once, and components that do not collide', async (t) => {
  const { ask, dialects } = await startListener(t)
  const { json } = await ask('GET', '/api-docs/openapi.json', { as: null })
  type Operation = { readonly operationId: string }
  const described = Object.values<Record<string, Operation>>(json.paths).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId),
  )
  const served = dialects.flatMap(({ name, routes }) =>
    routes.filter(({ kind }) => kind === 'route' || kind === 'raw').map(({ operation }) => `${name}.${operation}`),
  )
  t.deepEqual(described.toSorted(), served.toSorted())
  const components = dialects.flatMap(({ schemas }) => Object.keys(schemas))
  t.true(Object.keys(json.components.schemas).length >= components.length)
  t.truthy(json.components.schemas.ZerofsError)
  t.truthy(json.components.schemas.FleetError)
})

test('what every request may carry and every answer carries is in it', async (t) => {
  const { ask } = await startListener(t)
  const { json } = await ask('GET', '/api-docs', { as: null })
  t.deepEqual(Object.keys(json.components.securitySchemes), ['bearer', 'token', 'session', 'certificate'])
  const removal = json.paths['/api/v1/datasets/{name}'].delete
  const parameters = removal.parameters.map((parameter: { $ref?: string }) => parameter.$ref?.split('/').at(-1))
  t.deepEqual(parameters, [undefined, 'Group', 'IfMatch', 'IdempotencyKey'])
  t.truthy(removal.responses['503'].headers['Retry-After'])
  t.truthy(removal.responses['204'].headers['X-Job-Id'])
  const read = json.paths['/api/v1/datasets/{name}'].get
  t.truthy(read.responses['200'].headers.ETag)
  t.truthy(read.responses['304'])
})

test('its examples are of operations that exist, and as their schemas have them', async (t) => {
  const document = servedDocument()
  const check = createAnswerChecker(document)
  const shown = servedDialects().flatMap(({ name, examples = [] }) =>
    examples.map((example) => ({ ...example, dialect: name })),
  )
  t.true(shown.length > 20)
  for (const { dialect, operation, status, response } of shown) {
    const entry = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { operationId }]) => ({ path, method: method.toUpperCase(), operationId })),
    )
    const found = entry.find(({ operationId }) => operationId === `${dialect}.${operation}`)
    if (found === undefined) return t.fail(`${dialect} has no ${operation}`)
    const headers = { etag: '"e"', 'content-type': 'application/json' }
    t.deepEqual(check({ ...found, status, headers, body: response }), [], operation)
  }
})

test('JSON unless a page is asked for, with and without a slash, each with its own ETag', async (t) => {
  const { ask } = await startListener(t)
  const contentTypeOf = async (path: string, accept: string) =>
    (await ask('GET', path, { as: null, headers: { accept } })).headers.get('content-type')?.split(';')[0]
  for (const path of ['/api-docs', '/api-docs/']) {
    t.is(await contentTypeOf(path, '*/*'), 'application/json')
    t.is(await contentTypeOf(path, 'application/json'), 'application/json')
    t.is(await contentTypeOf(path, FOR_BROWSERS), 'text/html')
  }
  t.is(await contentTypeOf('/api-docs/openapi.json', FOR_BROWSERS), 'application/json')
  const page = await ask('GET', '/api-docs', { as: null, headers: { accept: FOR_BROWSERS } })
  const document = await ask('GET', '/api-docs', { as: null })
  t.is(page.headers.get('vary'), 'Accept')
  t.not(page.headers.get('etag'), document.headers.get('etag'))
  const headers = { 'if-none-match': document.headers.get('etag') ?? '' }
  t.is((await ask('GET', '/api-docs', { as: null, headers })).status, 304)
})

test('the page allows nothing inline and nothing from elsewhere; its files are kept for ever', async (t) => {
  const { ask } = await startListener(t)
  const { headers, text } = await ask('GET', '/api-docs', { as: null, headers: { accept: FOR_BROWSERS } })
  const policy = headers.get('content-security-policy') ?? ''
  t.regex(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/)
  t.notRegex(policy, /unsafe|\*|https?:/)
  const files = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '')
  t.is(files.length, 4)
  for (const file of files) {
    const asset = await ask('GET', file, { as: null })
    t.is(asset.status, 200, file)
    t.is(asset.headers.get('cache-control'), 'public, max-age=31536000, immutable')
    const known = { 'if-none-match': asset.headers.get('etag') ?? '' }
    t.is((await ask('GET', file, { as: null, headers: known })).status, 304)
  }
})

test('only files of the page are served', async (t) => {
  const { ask } = await startListener(t)
  const { text } = await ask('GET', '/api-docs', { as: null, headers: { accept: 'text/html' } })
  const folder = /href="(.+)\/swagger-ui\.css"/.exec(text)?.[1] ?? ''
  for (const path of [
    `${folder}/package.json`,
    `${folder}/..%2Fpackage.json`,
    `${folder}/__proto__`,
    '/api-docs/1/swagger-ui.css',
  ]) {
    t.is((await ask('GET', path, { as: null })).status, 404, path)
  }
})

test('a page is for who names HTML and likes it better than JSON', (t) => {
  t.true(prefersHtml(FOR_BROWSERS))
  t.true(prefersHtml('text/html'))
  t.true(prefersHtml('application/json;q=0.5, text/html'))
  t.false(prefersHtml('application/json, text/html'))
  t.false(prefersHtml('text/html;q=0'))
  t.false(prefersHtml('*/*'))
  t.false(prefersHtml(undefined))
})
