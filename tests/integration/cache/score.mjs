// Runs the public suite of HTTP caches through a proxy and scores it as the suite itself does.
//
//   node score.mjs FOLDER BASE [ID...]
//
// FOLDER holds http-cache-tests as npm installed it, BASE is the proxy ("http://127.0.0.1:8080"). With IDs only those
// tests run, and what they depend on. Prints one JSON array: {suite, id, kind, name, state, detail}.
//
// `state` is the suite's own determineTestResult with dependencies: a test that is true in the raw result counts as
// "dependency" when a test that it builds on was not passed, so a proxy that stores nothing does not shine.

import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, base, ...wanted] = process.argv.slice(2)
const root = path.resolve(folder, 'node_modules', 'http-cache-tests')
const load = name => import(pathToFileURL(path.join(root, name)))

const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult, testLookup } = await load('lib/display.mjs')
const suites = (await load('tests/index.mjs')).default
// The suite's own command adds this one too.
suites.push((await load('tests/surrogate-control.mjs')).default)
const fetch = createRequire(path.join(root, 'cli.mjs'))('node-fetch')

const STATES = {
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'optional_fail',
  Y: 'yes',
  N: 'no',
  '🔹': 'setup',
  '⁉️': 'harness',
  '⚪️': 'dependency',
  '↻': 'retry',
  '-': 'untested'
}

function withDependencies (ids) {
  const all = new Set()
  const visit = id => {
    if (all.has(id)) return
    all.add(id)
    const needed = testLookup(suites, id).depends_on || []
    needed.forEach(visit)
  }
  ids.forEach(visit)
  return all
}

const chosen = wanted.length ? withDependencies(wanted) : null
const selected = suites.map(suite => ({
  ...suite,
  tests: suite.tests.filter(test => chosen === null || chosen.has(test.id))
}))

await runTests(selected, fetch, false, base)
const results = getResults()
const rows = []
for (const suite of selected) {
  for (const test of suite.tests) {
    if (test.browser_only === true) continue
    const symbol = determineTestResult(suites, test.id, results)[2]
    const raw = results[test.id]
    rows.push({
      suite: suite.id,
      id: test.id,
      kind: test.kind || 'required',
      name: test.name,
      state: STATES[symbol] || symbol,
      detail: raw === true || raw === undefined ? '' : raw.join(': ')
    })
  }
}
// Idle connections to the proxy would hold the process.
process.stdout.write(JSON.stringify(rows), () => process.exit(0))
