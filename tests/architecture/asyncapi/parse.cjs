// Parse the AsyncAPI document that the first argument names, and write what the parser says of it as JSON.
const { readFileSync } = require('node:fs');
const { Parser } = require('@asyncapi/parser');

const file = process.argv[2];
new Parser().parse(readFileSync(file, 'utf8'), { source: file }).then(({ document, diagnostics }) => {
  const messages = document ? document.allMessages().all().map((message) => message.name()) : [];
  const said = diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path: path.join('.'), message }));
  process.stdout.write(JSON.stringify({ parsed: document !== undefined, messages, diagnostics: said }));
});
