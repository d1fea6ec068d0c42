// The key that is entered lives as long as the page: nothing is stored in the browser.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#documentation",
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  filter: true,
  validatorUrl: null,
});
