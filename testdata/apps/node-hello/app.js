// A web application for the stories and benchmarks: it says which instance answers,
// tells its environment, and dies when asked to.
const http = require('http');

const app = JSON.parse(process.env.VCAP_APPLICATION);
let requests = 0;

http.createServer((request, response) => {
  requests++;
  console.log(`request ${requests} ${request.url}`);
  switch (request.url) {
    case '/exit':
      process.exit(3);
    case '/env':
      return response.end(JSON.stringify(process.env));
    case '/id':
      return response.end(`${app.instance_id}\n`);
    case '/index':
      return response.end(`${app.instance_index}\n`);
    default:
      return response.end(`hello from ${app.name}\n`);
  }
}).listen(process.env.PORT, () => console.log('listening'));
