import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import test from 'ava'
import { Registry } from 'prom-client'
import { createDialects } from '../dialects.ts'
import { describeDialect } from './openapi.ts'

const dialects = createDialects({
  readiness: async () => ({ postgres: true, nats: true, ingest: true }),
  metrics: new Registry(),
})

for (const dialect of dialects) {
  test(`openapi/${dialect.name}.json is what the routes say`, async (t) => {
    const file = resolve(import.meta.dirname, `../../openapi/${dialect.name}.json`)
    t.deepEqual(JSON.parse(await readFile(file, 'utf8')), JSON.parse(JSON.stringify(describeDialect(dialect))))
  })

  test(`${dialect.name}: operations have names of their own`, (t) => {
    const names = dialect.routes.map((route) => route.operation)
    t.is(new Set(names).size, names.length)
  })
}
