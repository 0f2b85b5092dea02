import { pino } from 'pino'
import { Registry } from 'prom-client'
import { z } from 'zod'
import { SYSTEM_CALLER } from '../../control-plane/core/caller.ts'
import type { Core } from '../../control-plane/core/core.ts'
import { createDatasets } from '../../control-plane/core/datasets.ts'
import { createDataSource } from '../../control-plane/db/data-source.ts'
import { createSql } from '../../control-plane/db/sql.ts'
import { createDatasetStore } from '../../control-plane/db/stores/dataset-store.ts'
import { zerofs } from '../../control-plane/dialects/zerofs/dialect.ts'
import { getDataset } from '../../control-plane/dialects/zerofs/read-datasets.ts'
import type { Route } from '../../control-plane/http/route.ts'
import { createHttp, type HttpDeps } from '../../control-plane/http/server.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/**
 * The peer of an authenticated read: the same listener, route, statement and answer, but nobody asks who is there. What
 * is missing beside it is nothing that a read passes through.
 */
const options = readOptions(z.object({ port: z.number(), databaseUrl: z.string(), connections: z.number() }))

endWithParent()
const db = createDataSource({ url: options.databaseUrl, poolSize: options.connections })
await db.initialize()
const sql = createSql(db)
const datasets = createDatasets({
  reader: createDatasetStore(sql),
  roots: { ensure: async () => true, ready: async () => undefined },
  // as: reads order nothing
} as unknown as Parameters<typeof createDatasets>[0])

const publicRead: Route = {
  ...getDataset,
  access: 'public',
  handle: (request, core) =>
    getDataset.handle({ ...request, signal: request.signal, ifMatch: undefined, caller: SYSTEM_CALLER }, core),
}
const http = await createHttp({
  // as: a public read touches nothing else
  core: { datasets } as unknown as Core,
  dialects: [{ ...zerofs, routes: [publicRead] }],
  trustedNetworks: [],
  allowedHosts: [],
  credentials: { onChange: () => undefined },
  metrics: new Registry(),
  logger: pino({ level: 'info' }, pino.destination({ fd: 1, sync: false, minLength: 4096 })),
} as unknown as HttpDeps)
await http.listen({ port: options.port, bind: '127.0.0.1' })
tellParent('ready')
