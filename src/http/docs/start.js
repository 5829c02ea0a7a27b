// Shows the description with Swagger UI. Keys stay in the page's memory and are never stored.
"use strict";

// HEAD works wherever GET does, as the description's text says; listing it would only double the page.
const withoutHeads = () => ({
  statePlugins: {
    spec: {
      wrapSelectors: {
        taggedOperations: (tagged) => (...args) =>
          tagged(...args).map((tag) =>
            tag.update("operations", (operations) => operations.filter((one) => one.get("method") !== "head")),
          ),
      },
    },
  },
});

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  plugins: [withoutHeads],
  tryItOutEnabled: true,
  validatorUrl: null,
});
