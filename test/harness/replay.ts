import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createAnswerChecker } from './document.ts'
import { compare, Exchange, type Step, substitute, type Variables, valueAt } from './exchange.ts'

export interface ReplayTarget {
  readonly baseUrl: string
  readonly token?: string
  /** What exchanges may name beside `${run}`. */
  readonly variables?: Variables
  readonly signal?: AbortSignal
  /** Is told of every step as it went. */
  readonly onStep?: (step: Replayed) => void
}

/** One step as it went over the wire. */
export interface Replayed {
  readonly name: string
  readonly method: string
  readonly path: string
  /** What was sent. */
  readonly sent: unknown
  readonly status: number
  readonly received: unknown
  /** What made its names unique. */
  readonly run: string
}

/** One thing that was not as documented. */
export interface Difference {
  readonly exchange: string
  readonly step: string
  readonly difference: string
}

/** A dialect's documented exchanges, by file name. @throws ZodError for a file that is not one. */
export async function readExchanges(folder: string): Promise<readonly Exchange[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.json')).toSorted()
  return Promise.all(files.map(async (file) => Exchange.parse(JSON.parse(await readFile(join(folder, file), 'utf8')))))
}

async function send(step: Step, target: ReplayTarget, variables: Variables) {
  const { method, path, headers, body } = step.request
  const filled = substitute(body, variables)
  const response = await fetch(new URL(String(substitute(path, variables)), target.baseUrl), {
    method,
    // What `curl -d` claims; the documents' own examples do both.
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      ...(target.token === undefined ? {} : { authorization: `Bearer ${target.token}` }),
      // as: substitution keeps the shape of a record of strings
      ...(substitute(headers ?? {}, variables) as Record<string, string>),
    },
    ...(filled === undefined ? {} : { body: typeof filled === 'string' ? filled : JSON.stringify(filled) }),
    ...(target.signal ? { signal: target.signal } : {}),
  })
  const text = await response.text()
  return { status: response.status, headers: Object.fromEntries(response.headers), body: parseBody(text) }
}

/** JSON where it is, the text itself where it is not, undefined for nothing. */
function parseBody(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Made once: compiling the document takes longer than most replays. */
let checkAnswer: ReturnType<typeof createAnswerChecker> | undefined

/** What of an answer is not as the OpenAPI document says. */
function undocumented(step: Step, variables: Variables, actual: Awaited<ReturnType<typeof send>>): readonly string[] {
  checkAnswer ??= createAnswerChecker()
  const [path = ''] = String(substitute(step.request.path, variables)).split('?')
  return checkAnswer({ method: step.request.method, path, ...actual }).map((difference) => `document: ${difference}`)
}

/** Runs exchanges one after the other, each with its own variables. @returns every difference, in order. */
export async function replay(exchanges: readonly Exchange[], target: ReplayTarget): Promise<readonly Difference[]> {
  const differences: Difference[] = []
  for (const exchange of exchanges) {
    const run = randomBytes(4).toString('hex')
    let variables: Variables = { ...target.variables, run }
    for (const step of exchange.steps) {
      const actual = await send(step, target, variables)
      const { method } = step.request
      const path = String(substitute(step.request.path, variables))
      const sent = substitute(step.request.body, variables)
      target.onStep?.({ name: step.name, method, path, sent, status: actual.status, received: actual.body, run })
      const { status, headers, body } = step.expect
      const found = [
        ...compare(status, actual.status, 'status'),
        ...compare(substitute(headers ?? {}, variables), actual.headers, 'headers'),
        ...('body' in step.expect ? compare(substitute(body, variables), actual.body) : []),
        ...undocumented(step, variables, actual),
      ]
      differences.push(...found.map((difference) => ({ exchange: exchange.title, step: step.name, difference })))
      const captured = Object.entries(step.capture ?? {}).map(([name, path]) => [name, valueAt(actual.body, path)])
      variables = { ...variables, ...Object.fromEntries(captured) }
    }
  }
  return differences
}
