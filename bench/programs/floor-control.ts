import { randomUUIDv7 } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from 'nats'
import pg from 'pg'
import { z } from 'zod'
import {
  FLOOR_AGENT,
  FLOOR_EVENT_SUBJECT,
  FLOOR_EVENTS,
  FLOOR_INGEST,
  FLOOR_WORK,
  FLOOR_WORK_SUBJECT,
  FloorEvent,
  FloorRequest,
} from './floor-subjects.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** The floor's control side; what it is and what it lacks stands in `bench/floor.ts`. */
const options = readOptions(z.object({ port: z.number(), databaseUrl: z.string(), natsUrl: z.string() }))

/** 8, 16, 32 and 64 measured alike at 64 requests in flight: 1.8k to 2.0k jobs/s. */
const CONNECTIONS = 32

endWithParent()
const pool = new pg.Pool({ connectionString: options.databaseUrl, max: CONNECTIONS })
await pool.query(`create table floor_job (
  id uuid primary key,
  request text not null,
  state text not null,
  created_at timestamptz not null default now(),
  finished_at timestamptz
)`)
const nats = await connect({ servers: options.natsUrl })
const manager = await jetstreamManager(nats)
await manager.streams.add({ name: FLOOR_WORK, subjects: [FLOOR_WORK_SUBJECT], retention: 'workqueue' })
await manager.streams.add({ name: FLOOR_EVENTS, subjects: [FLOOR_EVENT_SUBJECT], retention: 'workqueue' })
await manager.consumers.add(FLOOR_WORK, { durable_name: FLOOR_AGENT, ack_policy: 'explicit' })
await manager.consumers.add(FLOOR_EVENTS, { durable_name: FLOOR_INGEST, ack_policy: 'explicit' })
const js = jetstream(nats)
const waiting = new Map<string, ServerResponse>()

async function accept(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk
  const { operation } = FloorRequest.parse(JSON.parse(body))
  const id = randomUUIDv7()
  waiting.set(id, response)
  const text = "insert into floor_job (id, request, state) values ($1, $2, 'queued')"
  await pool.query({ name: 'insert', text, values: [id, body] })
  await js.publish(FLOOR_WORK_SUBJECT, JSON.stringify({ id, operation }), { msgID: id })
}

async function settle(id: string, state: string): Promise<void> {
  const text = 'update floor_job set state = $2, finished_at = now() where id = $1'
  await pool.query({ name: 'update', text, values: [id, state] })
  const answer = JSON.stringify({ id, state })
  const length = Buffer.byteLength(answer)
  waiting.get(id)?.writeHead(201, { 'Content-Type': 'application/json', 'Content-Length': length }).end(answer)
  waiting.delete(id)
}

const events = await js.consumers.get(FLOOR_EVENTS, FLOOR_INGEST)
await events.consume({
  callback(message) {
    const { id, state } = FloorEvent.parse(message.json())
    void settle(id, state).then(() => message.ack())
  },
})
createServer((request, response) => void accept(request, response)).listen(options.port, '127.0.0.1', () =>
  tellParent('ready'),
)
