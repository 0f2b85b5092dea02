import { join, resolve } from 'node:path'
import { AUTHORITY_FILE } from './nats.ts'
import { privateDatabaseUrl } from './postgres.ts'
import { stateDirectoryAt } from './state-directory.ts'

/**
 * What `npm run holdfast` hands to its command. Without a `DATABASE_URL` the fleet of `npm start` is meant, whose database and
 * keys are in the state directory. With one nothing is added: the keys beside us need not be that database's.
 */
export function commandEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (environment.DATABASE_URL !== undefined) return environment
  const state = stateDirectoryAt(resolve(environment.HOLDFAST_STATE ?? '.holdfast'))
  const url = privateDatabaseUrl(state.postgres)
  if (url === undefined) return environment
  const hasKeys = environment.HOLDFAST_SECRETS_KEY !== undefined || environment.HOLDFAST_SECRETS_KEY_FILE !== undefined
  return {
    ...environment,
    DATABASE_URL: url,
    ...(hasKeys ? {} : { HOLDFAST_SECRETS_KEY_FILE: state.secretsKey }),
    // What `station backup` takes along.
    NATS_AUTHORITY_FILE: environment.NATS_AUTHORITY_FILE ?? join(state.nats, AUTHORITY_FILE),
    HOLDFAST_CREDENTIALS_FILE: environment.HOLDFAST_CREDENTIALS_FILE ?? state.credentials,
  }
}
